"""Result files of models that never were: choices drawn at random, right with a given chance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unisim_metrics.benchmark.datasets import load_dataset
from unisim_metrics.benchmark.paper import PAPER_TABLES
from unisim_metrics.benchmark.provenance import Provenance
from unisim_metrics.benchmark.results.files import (
    Environment,
    ModelMeta,
    Outcome,
    RunRecord,
    SetResult,
    result_folder,
    write_meta,
    write_result,
)
from unisim_metrics.benchmark.tasks import TASKS
from unisim_metrics.statistics.confidence import estimate

OTHERS: tuple[Provenance | None, ...] = ("subset", "demo", "own", None)
SETS = tuple(name for task in TASKS for name in task.datasets)
METHODS: dict[str, tuple[Any, ...]] = {name: task.methods for task in TASKS for name in task.datasets}


def weights_hash(name: str, revision: int = 0) -> str:
    return hashlib.sha256(f"{name} {revision}".encode()).hexdigest()


def paper_shares(model: str) -> dict[str, float]:
    """The paper's figure of a model on each set, as shares."""
    figures = {**PAPER_TABLES[6].figures.get(model, {}), **PAPER_TABLES[8].figures.get(model, {})}
    return {name: figures[name] / 100 for name in SETS if name in figures}


def make_result(
    dataset: str,
    share: float,
    *,
    n: int = 400,
    demonstrations: int = 0,
    provenance: Provenance | None = "paper",
    truncated_texts: int | None = None,
    generator: np.random.Generator,
    exact: bool = False,
) -> SetResult:
    """A result whose samples are right with the chance `share`, or (`exact`) as near to that share as `n` allows."""
    known = dataset if dataset in METHODS else "hpdv2"
    kind = load_dataset(known, ".").task
    outcomes = []
    labels = None if kind == "retrieval" else generator.integers(0, 2, n).astype(np.uint8)
    for worse, method in enumerate(METHODS[known]):
        common: dict[str, Any] = {"method": method, "signature": f"random|{dataset}"}
        if labels is None:
            precision = {
                protocol: np.clip(generator.normal(share + shift, 0.0 if exact else 0.05, 70), 0, 1)
                for protocol, shift in (("medium", 0.1), ("hard", -0.1))
            }
            values = np.stack(list(precision.values()), axis=1)
            common["average_precision"] = precision
        else:
            chance = share - 0.2 * worse
            right = np.arange(n) < round(chance * n) if exact else generator.random(n) < chance
            common["choices"] = np.where(right, labels, 1 - labels).astype(np.uint8)
            values = right.astype(np.float64)
        found = estimate(values)
        outcomes.append(Outcome(**common, figure=found.value, low=found.low, high=found.high))
    return SetResult(
        dataset=dataset,
        task=kind,
        n=70 if labels is None else n,
        samples_hash="0" * 64,
        provenance=provenance,
        truncated_texts=truncated_texts,
        labels=labels,
        demonstrations=demonstrations,
        outcomes=tuple(outcomes),
        environment=Environment(python="3", platform="test", device="cpu", packages={}),
        run=RunRecord(
            finished="2026-01-01T00:00:00Z", seconds=1, images_encoded=1, texts_encoded=1, peak_memory_bytes=1
        ),
    )


def write_model(
    results: Path,
    name: str,
    shares: Mapping[str, float],
    *,
    revision: int = 0,
    n: int = 400,
    demonstrations: int = 0,
    seed: int = 0,
    exact: bool = False,
    **fields: Any,
) -> Path:
    """Write the files of a model and return their folder."""
    generator = np.random.default_rng(seed)
    hashed = weights_hash(name, revision)
    folder = result_folder(results, name, hashed)
    meta = ModelMeta(
        name=name,
        weights_hash=hashed,
        input_tag="224-bicubic",
        parameters=151_000_000,
        library_version="0.1.0",
    )
    write_meta(folder, meta)
    for dataset, share in shares.items():
        result = make_result(
            dataset, share, n=n, demonstrations=demonstrations, generator=generator, exact=exact, **fields
        )
        write_result(folder, result)
    return folder
