"""Order statistics of more values than fit into memory: exact, in two passes and a few hundred kilobytes.

A float32 in order is an integer of 32 bits in order. The first pass counts the upper halves, which tells in which of
them a rank lies; the second counts the lower halves of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HALF = 16

Values = Callable[[], Iterable[NDArray[np.float32]]]
"""Gives the values anew at every call, in pieces."""


def order_statistics(values: Values, ranks: Sequence[int]) -> list[float]:
    """The values at some ranks, 0 for the smallest.

    Args:
        values: Float32 values without NaN; they are gone through twice.
        ranks: Ranks below the number of values, in any order.
    """
    upper = np.zeros(2**_HALF, np.int64)
    for piece in values():
        upper += np.bincount(_in_order(piece) >> _HALF, minlength=2**_HALF)
    below = np.cumsum(upper) - upper
    buckets = [int(np.searchsorted(below, rank, side="right")) - 1 for rank in ranks]
    # Of equal sums the last is the bucket that is not empty.
    lower = {bucket: np.zeros(2**_HALF, np.int64) for bucket in buckets}
    for piece in values():
        ordered = _in_order(piece)
        highs = ordered >> _HALF
        for bucket, counts in lower.items():
            counts += np.bincount(ordered[highs == bucket] & (2**_HALF - 1), minlength=2**_HALF)
    found = [
        (bucket << _HALF)
        + int(np.searchsorted(np.cumsum(lower[bucket]), rank - int(below[bucket]), side="right"))
        for bucket, rank in zip(buckets, ranks, strict=True)
    ]
    return [_value(number) for number in found]


def _in_order(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers in [0, 2³²) in the order of the values; −0 counts as 0."""
    bits: NDArray[np.int64] = (values + np.float32(0)).view(np.uint32).astype(np.int64)
    bits[:] = np.where(bits >= 2**31, 2**32 - 1 - bits, bits + 2**31)
    return bits


def _value(number: int) -> float:
    bits = number - 2**31 if number >= 2**31 else 2**32 - 1 - number
    value: Any = np.array(bits, np.uint32).view(np.float32)
    return float(value)
