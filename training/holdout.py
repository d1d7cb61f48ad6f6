"""Which triplets a run holds out: none shows what one that is trained on shows, in whatever dataset."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unisim_metrics.benchmark.samples import Item, Sample

from .stream import Pool

# A dataset gives away at most this share of its triplets.
LARGEST_SHARE = 0.5

Original = Callable[[Path], Path]


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
