"""The triplets that a recipe names: those to train on, and those that are held out."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unisim_metrics.benchmark import hash_samples, load_dataset
from unisim_metrics.benchmark.datasets import Protocol
from unisim_metrics.benchmark.samples import Item, Sample

from .stream import Pool

# A dataset gives away at most this share of its triplets.
LARGEST_SHARE = 0.5

Original = Callable[[Path], Path]


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


def hold_out(
    pools: Sequence[Pool],
    triplets: int,
    root: Path,
    seed: int = 0,
    originals: Mapping[str, Original] | None = None,
) -> tuple[tuple[Pool, ...], tuple[Pool, ...]]:
    """Cut every pool in two: what is trained on, and what is held out.

    Triplets that share an image, copies of one original, or a reference text hang together, also across datasets, and
    stay on one side. Whole groups of them are held out, in an order that is a function of the seed and of their content
    alone: neither the order of the triplets nor the other datasets change it.

    Args:
        pools: The triplets of each dataset.
        triplets: How many of each pool are held out at least. A pool that would lose more than half of its triplets
            gives fewer.
        root: The data root that the images are named from.
        seed: Another seed holds out other groups.
        originals: For a dataset's id, which image another is a copy of.

    Returns:
        The pools that are trained on, and those that are held out, both in the order of `pools`.

    Raises:
        ValueError: If nothing of a pool can be held out, since more than half of it hangs together.
    """
    links = _Links()
    ends = [[links.join(keys) for keys in _keys(pool, (originals or {}).get(pool.dataset))] for pool in pools]
    groups = [[links.find(end) for end in of_pool] for of_pool in ends]
    sizes: dict[Item, Counter[int]] = defaultdict(Counter)
    for index, of_pool in enumerate(groups):
        for group in of_pool:
            sizes[group][index] += 1

    chosen: set[Item] = set()
    held: Counter[int] = Counter()
    for group in _in_order(links, root, seed):
        wanted = any(held[index] < triplets for index in sizes[group])
        if wanted and all(
            held[index] + size <= LARGEST_SHARE * len(pools[index].samples)
            for index, size in sizes[group].items()
        ):
            chosen.add(group)
            held.update(sizes[group])
    for index, pool in enumerate(pools):
        if not held[index]:
            raise ValueError(
                f"Setting validation.triplets must be 0 with dataset {pool.dataset!r}: its {len(pool.samples)}"
                " triplets hang together by their images and reference texts, so that none can be held out."
            )
    return _part(pools, groups, chosen, False), _part(pools, groups, chosen, True)


def _part(
    pools: Sequence[Pool], groups: Sequence[Sequence[Item]], chosen: set[Item], held: bool
) -> tuple[Pool, ...]:
    return tuple(
        replace(
            pool,
            samples=[
                sample
                for sample, group in zip(pool.samples, of_pool, strict=True)
                if (group in chosen) == held
            ],
        )
        for pool, of_pool in zip(pools, groups, strict=True)
    )


def _keys(pool: Pool, original: Original | None) -> Iterator[list[Item]]:
    """What links each triplet to others: what its images show, and its reference text.

    The texts to choose from do not link: short captions recur under images that have nothing in common.
    """

    def images(sample: Sample) -> Iterator[Item]:
        for item in (sample.reference, *sample.alternatives):
            if isinstance(item, Path):
                yield item if original is None else original(item)

    for sample in pool.samples:
        yield [*images(sample), *([sample.reference] if isinstance(sample.reference, str) else [])]


class _Links:
    """Which keys hang together, by union and find."""

    def __init__(self) -> None:
        self.parents: dict[Item, Item] = {}

    def find(self, key: Item) -> Item:
        """The key that stands for all that hang together with this one."""
        parents = self.parents
        while (parent := parents.setdefault(key, key)) is not key:
            # Halving the way keeps it short for all who come after.
            parents[key] = key = parents[parent]
        return key

    def join(self, keys: Sequence[Item]) -> Item:
        """Link keys, and return one of them."""
        first = self.find(keys[0])
        for key in keys[1:]:
            self.parents[self.find(key)] = first
        return first


def _in_order(links: _Links, root: Path, seed: int) -> list[Item]:
    """The groups, each at a place that only the seed and its own first name decide."""
    prefix = os.path.join(root, "")
    names: dict[Item, str] = {}
    for key in links.parents:
        name = f"image {os.fspath(key).removeprefix(prefix)}" if isinstance(key, Path) else f"text {key}"
        group = links.find(key)
        names[group] = min(name, names.get(group, name))
    return sorted(names, key=lambda group: hashlib.sha256(f"{seed}/{names[group]}".encode()).digest())
