"""How sure a mean is: percentile intervals by the bootstrap, the same on any machine.

Groups of samples that hang together are weighted anew. Draws are named, by the set and its seed, so that the same
figure has the same interval wherever it is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters
from .intervals import Estimate
from .stream import Stream

RESAMPLES = 1999
"""Resamples of an interval. One less than a round number: percentiles then fall on resamples."""

# Draws that are made at once, few enough to stay in the processor's cache, and of how many resamples at most.
_BLOCK = 1 << 18
_BLOCK_RESAMPLES = 256

# Quantiles of the exponential distribution, in 65536ths.
_EXPONENTIAL = np.round(-np.log((np.arange(1 << 16) + 0.5) / (1 << 16)) * (1 << 16))

ZERO = 1e-12
"""Below this a difference of two means is a rounding error: means of n values differ by 1 / n or more."""

_DIGITS = 12


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


@dataclass(frozen=True)
class Resampled:
    """What a figure would be on other samples of the kind.

    Attributes:
        value: The figure.
        figures: Those of resamples, shape `[resamples]`: their variance is that of the figure.
        degrees: The degrees of freedom of that variance: few where few groups tell of it. Intervals are wider then.
    """

    value: float
    figures: NDArray[np.float64]
    degrees: float = math.inf


def estimate(
    values: NDArray[np.float64],
    *name: str | int,
    clusters: Clusters | None = None,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Estimate:
    """Return the figure that values of samples make, with its interval.

    Args:
        values: As for `average`.
        name: What the draws are for: the set's id and its seed.
        clusters: Which samples hang together; None if none do.
        resamples: How many resamples the interval is read from.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If a column has no value, or another argument is out of its range.
    """
    found = resample(values, *name, clusters=clusters, resamples=resamples)
    return percentiles(found.value, found.figures, confidence, found.degrees, bounds=(0.0, 1.0))


def resample(
    values: NDArray[np.float64],
    *name: str | int,
    clusters: Clusters | None = None,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Return the figures of `resamples` resamples: their spread is that of the figure.

    Each group of samples gets a random weight, exponentially distributed, and a resample is the weighted mean (Rubin's
    Bayesian bootstrap, 1981, over groups). Two samples are added that nobody saw, a right and a wrong one, each of the
    weight of as many real samples as tell as much as an independent one: ten right answers of ten are no proof that
    no other would be wrong. With n independent answers the resamples are those of Beta(right + 1, wrong + 1). Where
    groups are few or overlap, the deviations are stretched so that their variance is that of `Clusters.variance`.

    Args:
        values: As for `average`, in [0, 1].
        name: What the draws are for. Equal names give equal draws for as many groups; the first ones do not depend
            on `resamples`.
        clusters: Which samples hang together; None if none do.
        resamples: How many.

    Raises:
        ValueError: If a column has no value, `resamples` is below 1, or the clusters are of another number of samples.
    """
    check_arguments(resamples)
    columns = _columns(values)
    known = np.asarray(~np.isnan(columns).all(axis=1))
    value = average(values)
    own = _contributions(columns)[known]
    groups = _groups(clusters, known)
    variance = groups.variance(own)
    is_known = variance > 0 and 0 < value < 1
    # So many real samples tell as much as an independent one that is right or wrong.
    weight = len(own) * variance / (value * (1 - value)) if is_known else len(own) / groups.effective
    figures = _resampled(own, groups, (0.0, 1.0), weight, Stream(*name), resamples)
    return Resampled(value, figures, groups.effective - 1 if is_known else math.inf)


def resample_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *name: str | int,
    clusters: Clusters | None = None,
    resamples: int = RESAMPLES,
) -> Resampled:
    """Return by how much the second of two models is better than the first on the same samples, in resamples.

    As `resample`, of the differences on each sample. The two samples that nobody saw are one on which only the first
    model is right and one on which only the second is. Models that agree on all samples have no difference in any
    resample.

    Args:
        first: What each sample contributes to the first model's figure, as for `resample`. NaN in the same places.
        second: The same of the second model.
        name: As for `resample`.
        clusters: As for `resample`.
        resamples: As for `resample`.

    Raises:
        ValueError: As by `resample`, or if the shapes or the places of NaN differ.
    """
    check_arguments(resamples)
    tables = _columns(first), _columns(second)
    if tables[0].shape != tables[1].shape or (np.isnan(tables[0]) != np.isnan(tables[1])).any():
        raise ValueError(
            "Arguments `first` and `second` must be of one shape with NaN in the same places, but got"
            f" {list(tables[0].shape)} and {list(tables[1].shape)}, {np.isnan(tables[0]).sum()} and"
            f" {np.isnan(tables[1]).sum()} NaN."
        )
    known = np.asarray(~np.isnan(tables[0]).all(axis=1))
    own = (_contributions(tables[1]) - _contributions(tables[0]))[known]
    value = average(second) - average(first)
    groups = _groups(clusters, known)
    differing = own[np.abs(own) > ZERO]
    if not len(differing):
        return Resampled(0.0, np.zeros(resamples))
    size = float(np.sqrt(np.mean(differing**2)))
    variance, plain = groups.variance(own), float(own.var()) / len(own)
    is_known = variance > 0 and plain > 0
    weight = variance / plain if is_known else len(own) / groups.effective
    # The same draws for either order of the models, with the sign turned, even where the difference is none.
    ends = (-size, size) if differing[0] > 0 else (size, -size)
    figures = _resampled(own, groups, ends, weight, Stream(*name), resamples)
    return Resampled(value, figures, groups.effective - 1 if is_known else math.inf)


def percentiles(
    value: float,
    resampled: NDArray[np.float64],
    confidence: float = 0.95,
    degrees: float = math.inf,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Return a figure with the interval that its resamples span.

    Its ends are resamples, not points between two: with a confidence of 95 % and 1999 resamples the 50th from either
    side. With few degrees of freedom they are moved outwards, as Student's t is wider than the normal distribution.
    Where all lie on one side of the figure, the interval reaches to it.

    Args:
        value: The figure.
        resampled: The figures of the resamples, shape `[resamples]`; NaN are left out.
        confidence: How often such intervals hold the true figure, in (0, 1).
        degrees: The degrees of freedom of their variance, above 0.
        bounds: What the figure cannot be below and above.

    Raises:
        ValueError: If there is no resample, or an argument is out of its range.
    """
    check_arguments(confidence=confidence)
    ordered = np.sort(resampled[~np.isnan(resampled)])
    if not len(ordered):
        raise ValueError("Argument `resampled` must hold at least one figure, but it is empty.")
    # The sum of a product and its rounding error may fall short of a whole number.
    beyond = int((1 - confidence) / 2 * (len(ordered) + 1) + 1e-9)
    rank = max(beyond, 1)
    low, high = float(ordered[rank - 1]), float(ordered[-rank])
    if degrees < math.inf:
        # A sum that does not depend on the order: turned resamples have the turned middle.
        middle, stretch = math.fsum(ordered) / len(ordered), float(widening((1 - confidence) / 2, degrees))
        low, high = (round(middle + stretch * (end - middle), _DIGITS) for end in (low, high))
    return Estimate(value, min(value, max(low, bounds[0])), max(value, min(high, bounds[1])))


def widening(tail: float | NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Return how many times as far from the middle Student's t has its quantile as the normal distribution.

    Args:
        tail: The probability beyond the quantile, in (0, 1/2).
        degrees: The degrees of freedom, above 0.

    Raises:
        ValueError: If the degrees are not above 0.
    """
    # SciPy takes a while to load.
    from scipy.special import ndtri, stdtrit

    if not degrees > 0:
        raise ValueError(f"Argument `degrees` must be above 0, but got {degrees}.")
    return np.asarray(stdtrit(degrees, tail) / ndtri(tail))


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


def _contributions(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one number a sample whose mean is the figure, and whose deviations tell of its spread, `[n]`.

    With one column these are the values. With several, each deviates from its column's mean by as much as it moves that
    mean; a sample without a value moves none. NaN where a sample has no value at all.
    """
    known = ~np.isnan(columns)
    some = known.any(axis=1)
    counts = known.sum(axis=0)
    means = np.where(known, columns, 0.0).sum(axis=0) / counts
    moved = np.where(known, columns - means, 0.0) * (some.sum() / counts)
    return np.where(some, _mean_of_columns(means) + _mean_of_columns(moved), np.nan)


def _groups(clusters: Clusters | None, known: NDArray[np.bool_]) -> Clusters:
    if clusters is None:
        return Clusters.independent(int(known.sum()))
    if len(clusters) != len(known):
        raise ValueError(f"Argument `clusters` must be of {len(known)} samples, but got {len(clusters)}.")
    return clusters.take(known)


def _resampled(
    values: NDArray[np.float64],
    clusters: Clusters,
    ends: tuple[float, float],
    weight: float,
    stream: Stream,
    resamples: int,
) -> NDArray[np.float64]:
    """Return weighted means of groups and of one sample at either end of the range, `[resamples]`."""
    n, count, ways = len(values), clusters.count, clusters.ways
    mean = float(values.mean())
    totals = clusters.totals(values - mean)
    # A sample stands in as many groups as it has labels.
    sizes, extra = clusters.sizes, weight * ways
    figures = np.empty(resamples)
    for start, drawn in _weights(count + 2, resamples, stream):
        groups, unseen = drawn[:, :count], drawn[:, count:]
        above = groups @ totals + extra * (unseen @ (np.array(ends) - mean))
        figures[start : start + len(drawn)] = above / (groups @ sizes + extra * unseen.sum(axis=1))
    variance = clusters.variance(values)
    # What these weights do to deviations: each group's share of the whole varies as a Dirichlet's.
    made = float((totals**2).sum()) / (n * ways) ** 2 * count / (count + 1)
    stretch = math.sqrt(variance / made) if variance > 0 and made > 0 else 1.0
    middle = weight * (sum(ends) - 2 * mean) / (n + 2 * weight)
    # The last digits are the machine's.
    return np.asarray(np.round(mean + middle + stretch * (figures - middle), _DIGITS))


def _weights(count: int, resamples: int, stream: Stream) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield exponential weights of `count` groups, a block of resamples at a time: where it starts, `[block, count]`.

    They are whole numbers, so that sums of them and of counts are exact, in any order.
    """
    block = min(max(1, _BLOCK // count), _BLOCK_RESAMPLES)
    for number, start in enumerate(range(0, resamples, block)):
        words = stream.words((count * block + 3) // 4, f"weights {number}").astype("<u8", copy=False)
        # Each quarter of a word draws one weight.
        drawn = _EXPONENTIAL[words.view("<u2")[: count * block]].reshape(block, count)
        yield start, drawn[: resamples - start]


def draws(n: int, resamples: int, stream: Stream) -> Iterator[NDArray[np.int64]]:
    """Yield which of `n` samples are drawn, a block of resamples at a time, each of shape `[n, block]`."""
    block = min(max(1, _BLOCK // n), _BLOCK_RESAMPLES)
    for number, start in enumerate(range(0, resamples, block)):
        words = stream.words((n * block + 1) // 2, f"resamples {number}").astype("<u8", copy=False)
        # Either half of a word draws one sample; its bias is below n / 2**32.
        halves = words.view("<u4")[: n * block].astype(np.uint64)
        drawn = (halves * np.uint64(n)) >> np.uint64(32)
        yield drawn.view(np.int64).reshape(n, block)[:, : resamples - start]
