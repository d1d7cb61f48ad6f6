"""Which samples of a list share an image, its original or a reference text: what intervals and tests go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .datasets.revisitop import Retrieval
from .samples import Item, Sample

Columns = tuple[NDArray[np.uint32], ...]
"""Labels of samples, one list a way, as `Clusters.of_columns` takes them; none where no two samples share anything."""

# Samples that hang together by chains of neighbours are one group, unless that group holds more than this share of all
# and fewer than this share of its pairs of samples share an item themselves.
_LARGE = 0.1
_LOOSE = 0.1
_MOST_WAYS = 4


def share_samples(
    samples: Sequence[Sample], original: Callable[[Path], Path] = lambda image: image
) -> Columns:
    """Return labels that samples have in common which share an item.

    Items are images, the images of which they are copies, and reference texts. Texts to choose from are none: short
    captions recur under images that have nothing in common. Nor is what all samples share.

    Samples that hang together, be it by others in between, are one group, with one label. Where one such group would
    hold much of the set although few of its samples share anything with each other, as pairs of any two photos do, each
    sample has a label for each of its items, the four that most samples show at most.

    Args:
        samples: The samples.
        original: Which image another is a copy of: `Dataset.original`.
    """
    shown = [_items(sample, original) for sample in samples]
    counts = Counter(item for items in shown for item in items)
    linking = [[item for item in items if 1 < counts[item] < len(samples)] for items in shown]
    if not any(linking):
        return ()
    groups = _connected(linking)
    if not _is_loose(groups, linking):
        return (groups,)
    ranked = [sorted(items, key=lambda item: -counts[item])[:_MOST_WAYS] for items in linking]
    ways = max(map(len, ranked))
    numbers: dict[object, int] = {}
    # Where a sample has fewer items, the rest of its labels are no other sample's.
    labels = [
        [
            numbers.setdefault(key, len(numbers))
            for key in (*items, *((index, way) for way in range(len(items), ways)))
        ]
        for index, items in enumerate(ranked)
    ]
    return tuple(np.array(labels, dtype=np.uint32).T)


def share_queries(retrieval: Retrieval) -> Columns:
    """Return labels of queries: those have one in common that search for the same scene.

    Such queries have an image in common that shows them both, well or badly.

    Args:
        retrieval: The queries and what is to be found.
    """
    found = retrieval.easy | retrieval.hard
    groups = _connected([np.flatnonzero(row).tolist() for row in found])
    return () if len(np.unique(groups)) == len(groups) else (groups,)


def _items(sample: Sample, original: Callable[[Path], Path]) -> list[Item]:
    images = [item for item in (sample.reference, *sample.alternatives) if isinstance(item, Path)]
    texts = [sample.reference] if isinstance(sample.reference, str) else []
    return list(dict.fromkeys([*texts, *(original(image) for image in images), *images]))


def _connected(linking: Sequence[Sequence[object]]) -> NDArray[np.uint32]:
    """Return a label of each list of items: lists have the same one that are connected by items, be it by others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[object, int] = {}
    edges = [
        (index, len(linking) + numbers.setdefault(item, len(numbers)))
        for index, items in enumerate(linking)
        for item in items
    ]
    total = len(linking) + len(numbers)
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=np.bool_), (ends[:, 0], ends[:, 1])), shape=(total, total))
    _, components = connected_components(graph, directed=False)
    # Numbered in the order of the samples.
    _, first, groups = np.unique(components[: len(linking)], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[groups].astype(np.uint32)


def _is_loose(groups: NDArray[np.uint32], linking: Sequence[Sequence[object]]) -> bool:
    """Tell whether the largest group is held together by chains more than by what its samples share."""
    sizes = np.bincount(groups)
    largest, size = int(sizes.argmax()), int(sizes.max())
    if size <= _LARGE * len(groups):
        return False
    members = [items for items, group in zip(linking, groups, strict=True) if group == largest]
    counts = Counter(item for items in members for item in items)
    return sum(count**2 for count in counts.values()) < _LOOSE * size**2
