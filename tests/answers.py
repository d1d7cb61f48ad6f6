"""Results of models whose every answer is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.benchmark.provenance import Provenance
from unisim_metrics.benchmark.results.files import (
    UNANSWERED,
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

KINDS = {name: task.kinds[0] for task in TASKS for name in task.datasets}
HASH = "ab" * 32


def answered(
    dataset: str,
    right: NDArray[Any] | Mapping[str | None, NDArray[Any]],
    *,
    kind: str | None = None,
    seed: int = 0,
    samples_hash: str = HASH,
    provenance: Provenance | None = "paper",
    clusters: tuple[NDArray[np.uint32], ...] | None = (),
) -> SetResult:
    """A result by what each sample gives: 1 right, 0 wrong, NaN no choice; of queries `[n, 2]` average precisions.

    No two samples share anything, unless `clusters` says which do; None is a result of a version that did not say.
    """
    by_method = dict(right) if isinstance(right, Mapping) else {None: right}
    n = len(next(iter(by_method.values())))
    labels = (np.arange(n) % 2).astype(np.uint8)
    outcomes = []
    for method, values in by_method.items():
        known = np.asarray(values, dtype=np.float64)
        answers: dict[str, Any] = {}
        if known.ndim == 2:
            labels = None
            answers["average_precision"] = {"medium": known[:, 0], "hard": known[:, 1]}
        else:
            choices = np.where(known == 1, np.arange(n) % 2, 1 - np.arange(n) % 2)
            answers["choices"] = np.where(np.isnan(known), UNANSWERED, choices).astype(np.uint8)
        there = np.maximum(np.sum(~np.isnan(known), axis=0), 1)
        figure = float((np.nansum(known, axis=0) / there).mean())
        outcomes.append(Outcome(method=method, signature="s", figure=figure, low=0, high=1, **answers))
    return SetResult(
        dataset=dataset,
        task=kind or KINDS[dataset],
        seed=seed,
        n=n,
        samples_hash=samples_hash,
        provenance=provenance,
        labels=labels,
        clusters=clusters,
        outcomes=tuple(outcomes),
        environment=Environment(python="3", platform="p", device="cpu", packages={}),
        run=RunRecord(finished="", seconds=0, images_encoded=0, texts_encoded=0, peak_memory_bytes=0),
    )


def all_sets(seed: int, share: float = 0.7, n: int = 60) -> dict[str, SetResult]:
    """A result on each set of the paper, right with the chance `share`."""
    rng = np.random.default_rng(seed)
    results = {}
    for task in TASKS:
        for name in task.datasets:
            if task.id == "ir":
                results[name] = answered(name, rng.random((20, 2)))
            else:
                results[name] = answered(name, {method: rng.random(n) < share for method in task.methods})
    return results


def write_answers(
    root: Path,
    name: str,
    results: Sequence[SetResult],
    weights_hash: str = "0" * 64,
    demonstrations: int = 0,
) -> Path:
    """Write the results of a model, and return their folder."""
    folder = result_folder(root, name, weights_hash, demonstrations)
    write_meta(
        folder,
        ModelMeta(
            name=name,
            weights_hash=weights_hash,
            input_tag="i",
            parameters=1,
            library_version="0",
            demonstrations=demonstrations,
        ),
    )
    for result in results:
        write_result(folder, result)
    return folder
