"""The triplets that a recipe names: those to train on, and those that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisim_metrics.benchmark import hash_samples, load_dataset
from unisim_metrics.benchmark.datasets import Protocol

from .holdout import hold_out
from .stream import Pool


@dataclass(frozen=True)
class Triplets:
    """What datasets give.

    Attributes:
        pools: The triplets of each dataset that are trained on.
        held_out: Those that are held out for validation; empty where none are asked for.
        data_hash: SHA-256 of all that are trained on, with paths relative to the data root.
        held_out_hash: Likewise of those that are held out; None without any.
    """

    pools: tuple[Pool, ...]
    held_out: tuple[Pool, ...]
    data_hash: str
    held_out_hash: str | None

    def rows(self) -> list[dict[str, Any]]:
        """Dataset, task and how many triplets are trained on and held out, one row a dataset."""
        held = {pool.dataset: len(pool.samples) for pool in self.held_out}
        return [
            {
                "dataset": pool.dataset,
                "task": pool.task,
                "triplets": len(pool.samples),
                "held_out": held.get(pool.dataset, 0),
            }
            for pool in self.pools
        ]


def read_triplets(
    names: Sequence[str], root: Path, held_out: int = 0, seed: int = 0, protocol: Protocol = "paper"
) -> Triplets:
    """Read the annotations of datasets; no image is opened.

    Args:
        names: Ids of the benchmark's sets, or files of one's own.
        root: The data root.
        held_out: How many triplets of each dataset are held out at least.
        seed: Of the datasets' own draws, and of what is held out.
        protocol: Whose triplets, and how often they count: as `load_dataset` takes it.

    Raises:
        ValueError: If a dataset is unknown, named twice, has no training split, is malformed, or cannot be held out.
        FileNotFoundError: If an annotation file is not there.
    """
    datasets = {}
    pools = []
    for name in names:
        dataset = load_dataset(name, root, protocol)
        if dataset.task == "retrieval":
            raise ValueError(f"Dataset {name!r} is of the task 'retrieval', on which nothing is trained.")
        if "train" not in dataset.files:
            raise ValueError(f"Dataset {name!r} must have triplets to train on, but has none.")
        if dataset.id in datasets:
            raise ValueError(
                f"Setting data.datasets must name every dataset once, but got {dataset.id!r} twice."
            )
        datasets[dataset.id] = dataset
        samples = dataset.samples("train", seed=seed)
        pools.append(Pool(dataset.id, dataset.task, samples, dataset.draws_per_pass("train")))
    trained: tuple[Pool, ...] = tuple(pools)
    held: tuple[Pool, ...] = ()
    if held_out:
        originals = {name: dataset.original for name, dataset in datasets.items()}
        trained, held = hold_out(pools, held_out, root, seed, originals)
    return Triplets(trained, held, _hash(trained, root), _hash(held, root) if held else None)


def _hash(pools: tuple[Pool, ...], root: Path) -> str:
    digest: str = hash_samples((sample for pool in pools for sample in pool.samples), root)
    return digest
