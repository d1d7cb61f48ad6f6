"""Choices between two items out of scores that people gave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from ..samples import Candidate, Item


class ScoredPairs(Sequence[Candidate]):
    """All pairs of items whose scores differ, the higher score being right.

    Pairs are made when asked for: a few thousand items have millions.

    Args:
        reference: What all the items are compared with.
        items: The images or texts.
        scores: Their scores, higher being better.
    """

    def __init__(self, reference: Item | None, items: Sequence[Item], scores: Sequence[float]) -> None:
        self.reference = reference
        self.items = items
        values = np.asarray(scores, dtype=np.float64)
        first, second = np.triu_indices(len(items), 1)
        pairs = np.where((values[first] > values[second])[:, None], [[0, 1]], [[1, 0]])
        pairs = np.take_along_axis(np.stack([first, second], axis=1), pairs, axis=1)
        self._pairs = pairs[values[first] != values[second]]

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Candidate]: ...

    def __getitem__(self, index: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        better, worse = self._pairs[index].tolist()
        return self.reference, (self.items[better], self.items[worse])


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the choices without repeats, in the order of their first occurrence."""
    return list(dict.fromkeys(candidates))
