"""How sure a mean is, whatever samples do to each other that hang together: score intervals, and draws of figures.

Wilson's interval (1927) asks which true shares a score test would not reject. Here it is of as many independent trials
as tell as much: the variance of the figure, cluster-robust where samples hang together, says how many these are. The
ends of such intervals at all levels are the figure's confidence distribution. Figures of several sets are put together
by draws from theirs. Draws are named, by the set and its seed, so that the same figures have the same interval wherever
they are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters, Spread
from .intervals import Estimate, check_confidence
from .stream import Stream

Array = NDArray[np.float64]

DRAWS = 1999
"""Draws of a figure. One less than a round number: the ends of intervals then are draws."""

ZERO = 1e-12
"""Below this a difference of two means is a rounding error: means of n values differ by 1 / n or more."""

_DIGITS = 12


def average(values: Array) -> float:
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
class Drawn:
    """A figure, or a difference of two, with draws from its confidence distribution.

    Attributes:
        value: The figure.
        figures: The draws, shape `[draws]`: evenly spaced quantiles of the distribution, in random order.
    """

    value: float
    figures: Array


def estimate(values: Array, clusters: Clusters | None = None, confidence: float = 0.95) -> Estimate:
    """Return the figure that values of samples make, with its score interval.

    Wilson's interval at the effective number of trials, p (1 − p) / variance, and a quantile of Student's t. Of answers
    that are right or wrong and share nothing it is Wilson's itself. Where all are right, or all wrong, each group
    counts as one trial: ten right answers of ten are no proof that no other would be wrong.

    The degrees of freedom are those of the variance, as `Clusters.spread` gives them, times 1 + 2 / (n p (1 − p)): few
    answers of one kind mostly stand in groups of their own, so that the variance is surer than the groups are many.

    Args:
        values: As for `average`, in [0, 1].
        clusters: Which samples hang together; None if none do.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If a column has no value, the clusters are of another number of samples, or the confidence is out
            of its range.
    """
    check_confidence(confidence)
    return _scores_of_mean(values, clusters).estimate(confidence)


def estimate_of_groups(totals: Array, sizes: Array, confidence: float = 0.95) -> Estimate:
    """Return the mean of samples of which only sums over groups are known, with the interval of `estimate`.

    Args:
        totals: The sum of the samples of each group, `[groups]`, from 0 to the size.
        sizes: How many samples each has, `[groups]`, at least 1.
        confidence: How often such intervals hold the true mean, in (0, 1).

    Raises:
        ValueError: If there is no group, the sums do not fit, or the confidence is out of its range.
    """
    check_confidence(confidence)
    totals, sizes = (np.asarray(each, dtype=np.float64) for each in (totals, sizes))
    if (
        totals.ndim != 1
        or not len(totals)
        or totals.shape != sizes.shape
        or not ((sizes >= 1) & (totals >= 0) & (totals <= sizes)).all()
    ):
        raise ValueError(
            "Arguments `totals` and `sizes` must be of one shape [groups] with 0 <= total <= size and size >= 1, but"
            f" got shapes {list(totals.shape)} and {list(sizes.shape)}, or other sums."
        )
    n, count = float(sizes.sum()), len(sizes)
    value, effective = math.fsum(totals) / n, n**2 / float((sizes**2).sum())
    squares = float(((totals - value * sizes) ** 2).sum())
    # As `Clusters.spread` has it.
    spread = (
        Spread(squares / n**2 * count / (count - 1), effective - 1) if count > 1 else Spread(math.nan, 0.0)
    )
    is_plain = bool((sizes == 1).all() and np.isin(totals, (0, 1)).all())
    return _scores(value, int(n), spread, effective, is_plain).estimate(confidence)


def draw(values: Array, *name: str | int, clusters: Clusters | None = None, draws: int = DRAWS) -> Drawn:
    """Return the figure that values of samples make, with draws from its confidence distribution.

    Their quantiles are the ends of the intervals of `estimate`.

    Args:
        values: As for `average`, in [0, 1].
        name: What the draws are for: the set's id and its seed. Equal names give draws in equal order.
        clusters: Which samples hang together; None if none do.
        draws: How many.

    Raises:
        ValueError: If a column has no value, `draws` is below 1, or the clusters are of another number of samples.
    """
    check_draws(draws)
    scores = _scores_of_mean(values, clusters)
    return Drawn(scores.value, scores.points(_tails(draws))[_order(draws, *name)])


def draw_difference(
    first: Array, second: Array, *name: str | int, clusters: Clusters | None = None, draws: int = DRAWS
) -> Drawn:
    """Return by how much the second of two models is better than the first on the same samples, with draws.

    As `draw`, of the differences on each sample, in [-1, 1]. Two halves of a sample that nobody saw are added: on one
    only the first model is right, on the other only the second (after Agresti and Min, 2005). Models that agree on all
    samples have no difference in any draw.

    Args:
        first: What each sample contributes to the first model's figure, as for `average`. NaN in the same places.
        second: The same of the second model.
        name: As for `draw`.
        clusters: As for `draw`.
        draws: As for `draw`.

    Raises:
        ValueError: As by `draw`, or if the shapes or the places of NaN differ.
    """
    check_draws(draws)
    tables = _columns(first), _columns(second)
    if tables[0].shape != tables[1].shape or (np.isnan(tables[0]) != np.isnan(tables[1])).any():
        raise ValueError(
            "Arguments `first` and `second` must be of one shape with NaN in the same places, but got"
            f" {list(tables[0].shape)} and {list(tables[1].shape)}, {np.isnan(tables[0]).sum()} and"
            f" {np.isnan(tables[1]).sum()} NaN."
        )
    known = np.asarray(~np.isnan(tables[0]).all(axis=1))
    own = (_contributions(tables[1]) - _contributions(tables[0]))[known]
    differing = own[np.abs(own) > ZERO]
    if not len(differing):
        return Drawn(0.0, np.zeros(draws))
    # The same draws for either order of the models, with the sign turned.
    sign = 1.0 if differing[0] > 0 else -1.0
    value = average(second) - average(first)
    scores = _scores_of_difference(sign * value, sign * own, differing, _groups(clusters, known))
    return Drawn(value, sign * scores.points(_tails(draws))[_order(draws, *name)])


def check_draws(draws: int) -> None:
    """Raise a `ValueError` unless there is a draw."""
    if draws < 1:
        raise ValueError(f"Argument `draws` must be at least 1, but got {draws}.")


@dataclass(frozen=True)
class _Scores:
    """The score tests of all true figures.

    Attributes:
        value: The figure that was seen.
        middle: The figure that is tested, which may lie nearer to the middle of the range.
        trials: As many independent trials between the ends of the range tell as much.
        degrees: The degrees of freedom of the quantiles.
        lowest: Where the range of figures begins; it ends at 1.
    """

    value: float
    middle: float
    trials: float
    degrees: float
    lowest: float = 0.0

    def estimate(self, confidence: float) -> Estimate:
        """Return the figure with its interval."""
        low, high = self.points(np.array([(1 - confidence) / 2]))
        return Estimate(self.value, min(self.value, float(low)), max(self.value, float(high)))

    def points(self, tails: Array) -> Array:
        """Return the true figures at which the test has these tails below, ascending, and then above.

        Args:
            tails: Ascending probabilities in (0, 1/2], `[tails]`. A half has no second point.

        Returns:
            Shape `[points]`.
        """
        # SciPy takes a while to load.
        from scipy.special import ndtri, stdtrit

        quantiles = ndtri(tails) if math.isinf(self.degrees) else stdtrit(self.degrees, tails)
        quantiles = np.concatenate([quantiles, -quantiles[tails < 0.5][::-1]])
        weight = quantiles**2 / self.trials
        share = (self.middle - self.lowest) / (1 - self.lowest)
        half = np.sign(quantiles) * np.sqrt(weight * share * (1 - share) + weight**2 / 4)
        found = (share + weight / 2 + half) / (1 + weight)
        # The last digits are the machine's.
        return np.asarray(np.round(self.lowest + (1 - self.lowest) * found, _DIGITS))


def _scores_of_mean(values: Array, clusters: Clusters | None) -> _Scores:
    columns = _columns(values)
    known = np.asarray(~np.isnan(columns).all(axis=1))
    value = average(values)
    own = _contributions(columns)[known]
    groups = _groups(clusters, known)
    is_plain = groups.is_independent and columns.shape[1] == 1 and bool(np.isin(own, (0, 1)).all())
    return _scores(value, len(own), groups.spread(own), groups.effective, is_plain)


def _scores(value: float, n: int, spread: Spread, effective: float, is_plain: bool) -> _Scores:
    """Return the score tests of a mean.

    Args:
        value: The mean.
        n: Of how many samples.
        spread: Its variance, NaN where it is not known.
        effective: How many groups of equal size would tell as much.
        is_plain: Whether all samples are right or wrong and share nothing: then the variance is the binomial one.
    """
    if is_plain:
        return _Scores(value, value, n, math.inf)
    # Groups of which all tell the same do not tell how far others may be off.
    if not (spread.variance > 0 and 0 < value < 1):
        return _Scores(value, value, effective, math.inf)
    plain = value * (1 - value)
    return _Scores(value, value, plain / spread.variance, spread.degrees * (1 + 2 / (n * plain)))


def _scores_of_difference(value: float, own: Array, differing: Array, groups: Clusters) -> _Scores:
    n, square = len(own), float(np.mean(differing**2))
    spread, plain = groups.spread(own), float(own.var()) / n
    is_known = spread.variance > 0 and plain > 0
    # So many real samples tell as much as an independent one.
    weight = spread.variance / plain if is_known else n / groups.effective
    middle = value * n / (n + weight)
    seen = spread.variance * n**2 if is_known else 0.0
    wider = (seen + weight**2 * square) / (n + weight) ** 2
    degrees = spread.degrees * (1 + 2 / len(differing)) if is_known else math.inf
    return _Scores(value, middle, (1 - middle**2) / wider, degrees, -1.0)


def _tails(draws: int) -> Array:
    return np.arange(1, (draws + 1) // 2 + 1) / (draws + 1)


def _order(draws: int, *name: str | int) -> NDArray[np.int64]:
    return Stream(*name).permutation(draws, "draws")


def _columns(values: Array) -> Array:
    columns = np.asarray(values, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or not columns.size or np.isnan(columns).all(axis=0).any():
        raise ValueError(
            "Argument `values` must be of shape [n] or [n, protocols] with a value in each column, but got"
            f" {np.count_nonzero(~np.isnan(columns))} values in shape {list(np.shape(values))}."
        )
    return columns


def _mean_of_columns(means: Array) -> Array:
    total = means[..., 0]
    for column in range(1, means.shape[-1]):
        total = total + means[..., column]
    return np.asarray(total / means.shape[-1])


def _contributions(columns: Array) -> Array:
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
