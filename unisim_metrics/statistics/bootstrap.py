"""Percentile intervals: of the bootstrap's resamples, as `correlation` draws models, and of draws of a figure.

Figures of samples have score intervals (`confidence`); only averages of them are read from draws.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .intervals import Estimate, check_confidence
from .stream import Stream

RESAMPLES = 1999
"""Resamples of an interval. One less than a round number: percentiles then fall on resamples."""

# Draws that are made at once, few enough to stay in the processor's cache, and of how many resamples at most.
_BLOCK = 1 << 18
_BLOCK_RESAMPLES = 256


def percentiles(value: float, resampled: NDArray[np.float64], confidence: float = 0.95) -> Estimate:
    """Return a figure with the interval that its resamples, or its draws, span.

    Its ends are resamples, not points between two: with a confidence of 95 % and 1999 resamples the 50th from either
    side. Where all lie on one side of the figure, the interval reaches to it.

    Args:
        value: The figure.
        resampled: The figures of the resamples, shape `[resamples]`; NaN are left out.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If there is no resample, or the confidence is out of its range.
    """
    check_confidence(confidence)
    ordered = np.sort(resampled[~np.isnan(resampled)])
    if not len(ordered):
        raise ValueError("Argument `resampled` must hold at least one figure, but it is empty.")
    # The sum of a product and its rounding error may fall short of a whole number.
    beyond = int((1 - confidence) / 2 * (len(ordered) + 1) + 1e-9)
    rank = max(beyond, 1)
    return Estimate(value, min(value, float(ordered[rank - 1])), max(value, float(ordered[-rank])))


def check_resamples(resamples: int) -> None:
    """Raise a `ValueError` unless there is a resample."""
    if resamples < 1:
        raise ValueError(f"Argument `resamples` must be at least 1, but got {resamples}.")


def draws(n: int, resamples: int, stream: Stream) -> Iterator[NDArray[np.int64]]:
    """Yield which of `n` samples are drawn, a block of resamples at a time, each of shape `[n, block]`."""
    block = min(max(1, _BLOCK // n), _BLOCK_RESAMPLES)
    for number, start in enumerate(range(0, resamples, block)):
        words = stream.words((n * block + 1) // 2, f"resamples {number}").astype("<u8", copy=False)
        # Either half of a word draws one sample; its bias is below n / 2**32.
        halves = words.view("<u4")[: n * block].astype(np.uint64)
        drawn = (halves * np.uint64(n)) >> np.uint64(32)
        yield drawn.view(np.int64).reshape(n, block)[:, : resamples - start]
