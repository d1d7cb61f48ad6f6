"""How sure a mean is: percentile intervals by the bootstrap, the same on any machine.

Samples of a set are drawn anew, with replacement, as many as there are. Draws are named, by the set and its seed, so
that two models are asked about the same samples in each resample: differences of their means are paired.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .intervals import Estimate
from .stream import Stream

RESAMPLES = 1999
"""Resamples of an interval. One less than a round number: percentiles then fall on resamples."""

# Draws that are made at once, few enough to stay in the processor's cache, and of how many resamples at most.
_BLOCK = 1 << 18
_BLOCK_RESAMPLES = 256


def average(values: NDArray[np.float64]) -> float:
    """Return the figure that values of samples make: the mean of each column without its NaN, then of the columns.

    Args:
        values: One row a sample: 1 for right and 0 for wrong, `[n]`; for retrieval the average precision of each
            query by protocol, `[n, protocols]`. NaN where there is none.

    Raises:
        ValueError: If a column has no value.
    """
    columns = _columns(values)
    known = ~np.isnan(columns)
    sums = np.array([math.fsum(entries[rows]) for entries, rows in zip(columns.T, known.T, strict=True)])
    return float(_mean_of_columns(sums / known.sum(axis=0)))


def estimate(
    values: NDArray[np.float64], *name: str | int, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Estimate:
    """Return the figure that values of samples make, with its percentile interval.

    Args:
        values: As for `average`.
        name: What the draws are for: the set's id and its seed.
        resamples: How many resamples the interval is read from.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If a column has no value, or another argument is out of its range.
    """
    return percentiles(average(values), resample(values, *name, resamples=resamples), confidence)


def resample(
    values: NDArray[np.float64], *name: str | int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Return the figures of `resamples` resamples: their spread is that of the figure.

    A resample of values that are all equal cannot vary. Its mean is then drawn as the rule of succession has it, from
    the beta distribution that n values of that share leave of a uniform one: ten right answers of ten are no proof
    that no other would be wrong.

    Args:
        values: As for `average`, in [0, 1].
        name: What the draws are for. Equal names give equal draws for as many samples; the first ones do not depend
            on `resamples`.
        resamples: How many.

    Returns:
        Shape `[resamples]`. NaN for a resample that has no value in a column.

    Raises:
        ValueError: If a column has no value, or `resamples` is below 1.
    """
    return resample_together([values], *name, resamples=resamples)[0]


def resample_together(
    models: Sequence[NDArray[np.float64]], *name: str | int, resamples: int = RESAMPLES
) -> list[NDArray[np.float64]]:
    """Return what `resample` does for each of several models on the same samples, in less time.

    Args:
        models: The values of each model, as for `resample`, all of as many samples.
        name: As for `resample`.
        resamples: As for `resample`.

    Raises:
        ValueError: As by `resample`, or if the models have different numbers of samples.
    """
    check_arguments(resamples)
    tables = [_columns(values) for values in models]
    if len({len(table) for table in tables}) != 1:
        raise ValueError(
            f"Argument `models` must hold as many samples each, but got {[len(table) for table in tables]}."
        )
    columns = [column for table in tables for column in table.T]
    stream = Stream(*name)
    means = np.empty((len(columns), resamples))
    varying = [index for index, column in enumerate(columns) if np.nanmin(column) < np.nanmax(column)]
    for index in set(range(len(columns))) - set(varying):
        known = columns[index][~np.isnan(columns[index])]
        means[index] = _succession(float(known[0]), len(known), stream, resamples)
    if varying:
        start = 0
        for drawn in draws(len(columns[0]), resamples, stream):
            block = slice(start, start := start + drawn.shape[1])
            for index in varying:
                means[index, block] = _means(columns[index], drawn)
    ends = np.cumsum([table.shape[1] for table in tables])
    return [_mean_of_columns(part.T) for part in np.split(means, ends[:-1])]


def percentiles(value: float, resampled: NDArray[np.float64], confidence: float = 0.95) -> Estimate:
    """Return a figure with the interval that its resamples span.

    Its ends are resamples, not points between two: with a confidence of 95 % and 1999 resamples the 50th from either
    side. Where all lie on one side of the figure, the interval reaches to it.

    Args:
        value: The figure.
        resampled: The figures of the resamples, shape `[resamples]`; NaN are left out.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If there is no resample, or the confidence is out of its range.
    """
    check_arguments(confidence=confidence)
    ordered = np.sort(resampled[~np.isnan(resampled)])
    if not len(ordered):
        raise ValueError("Argument `resampled` must hold at least one figure, but it is empty.")
    # The sum of a product and its rounding error may fall short of a whole number.
    beyond = int((1 - confidence) / 2 * (len(ordered) + 1) + 1e-9)
    rank = max(beyond, 1)
    return Estimate(value, min(value, float(ordered[rank - 1])), max(value, float(ordered[-rank])))


def check_arguments(resamples: int = RESAMPLES, confidence: float = 0.95) -> None:
    """Raise a `ValueError` unless there is a resample, and the confidence lies between 0 and 1."""
    if resamples < 1:
        raise ValueError(f"Argument `resamples` must be at least 1, but got {resamples}.")
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` must lie between 0 and 1, but got {confidence}.")


def _columns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    columns = np.asarray(values, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or not columns.size or np.isnan(columns).all(axis=0).any():
        raise ValueError(
            "Argument `values` must be of shape [n] or [n, protocols] with a value in each column, but got"
            f" {np.count_nonzero(~np.isnan(columns))} values in shape {list(np.shape(values))}."
        )
    return columns


def _mean_of_columns(means: NDArray[np.float64]) -> NDArray[np.float64]:
    total = means[..., 0]
    for column in range(1, means.shape[-1]):
        total = total + means[..., column]
    return np.asarray(total / means.shape[-1])


def _means(values: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    # Samples are added one after the other, so that the last bit is the same on any machine.
    missing = np.isnan(values)
    if not missing.any():
        return np.asarray(values[drawn].sum(axis=0) / len(values))
    total = np.where(missing, 0.0, values)[drawn].sum(axis=0)
    count = (~missing)[drawn].sum(axis=0)
    means: NDArray[np.float64] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means


def draws(n: int, resamples: int, stream: Stream) -> Iterator[NDArray[np.int64]]:
    """Yield which of `n` samples are drawn, a block of resamples at a time, each of shape `[n, block]`."""
    block = min(max(1, _BLOCK // n), _BLOCK_RESAMPLES)
    for number, start in enumerate(range(0, resamples, block)):
        words = stream.words((n * block + 1) // 2, f"resamples {number}").astype("<u8", copy=False)
        # Either half of a word draws one sample; its bias is below n / 2**32.
        halves = words.view("<u4")[: n * block].astype(np.uint64)
        drawn = (halves * np.uint64(n)) >> np.uint64(32)
        yield drawn.view(np.int64).reshape(n, block)[:, : resamples - start]


def _succession(value: float, n: int, stream: Stream, resamples: int) -> NDArray[np.float64]:
    # SciPy takes a while to load, and is seldom needed.
    from scipy.stats import beta

    uniform = (stream.words(resamples, "succession") >> np.uint64(11)) * 2.0**-53
    drawn = beta.ppf(uniform, n * value + 1, n * (1 - value) + 1)
    # The last digits are the machine's.
    return np.asarray(np.round(drawn, 9))
