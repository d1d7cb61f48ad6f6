"""How strong each of several is: Bradley-Terry strengths from who beat whom, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .intervals import check_confidence

# Newton's method doubles its digits each step; halved steps need a few more.
_STEPS = 200
_CONVERGED = 1e-13
# What each two that met are given, each way, where the wins alone have no finite answer.
_PSEUDO_WINS = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Strengths:
    """Bradley-Terry strengths of N items: i beats j with the odds exp(strength i − strength j).

    Attributes:
        values: Strengths `[N]`, natural logarithms, of mean 0.
        low: Where their intervals begin, `[N]`.
        high: Where their intervals end, `[N]`.
        regularised: Whether the wins had to be helped to a finite answer.
    """

    values: Array
    low: Array
    high: Array
    regularised: bool


def estimate_strengths(
    wins: Array,
    sizes: Array | None = None,
    wins_by_size: Array | None = None,
    products: Array | None = None,
    confidence: float = 0.95,
) -> Strengths:
    """Estimate Bradley-Terry strengths by maximum likelihood.

    Where some items never lost to some others, no finite strengths are the likeliest. Each two that met are then given
    half a win each way, and the intervals come from the observed information alone.

    Otherwise, if the sums over groups are given, the intervals come from a sandwich over groups: the N (N − 1) / 2
    comparisons of a group are read off N scores and are not independent. Without the sums all comparisons count as
    independent.

    Args:
        wins: How often i beat j, `[N, N]`; a tie counts a half for both.
        sizes: How many groups had exactly n + 1 items, the first ones, `[N]`.
        wins_by_size: The wins of each item in the groups with exactly n + 1 items, `[N (size), N (item)]`.
        products: The sum over groups of the outer product of the items' wins, `[N, N]`.
        confidence: How often such intervals hold the true strength, in (0, 1).

    Raises:
        ValueError: If shapes do not fit, some items are not tied to the others by any meetings, or the confidence is
            out of its range.
    """

    def scatter(chances: Array) -> Array | None:
        if sizes is None or wins_by_size is None or products is None:
            return None
        return _scatter(chances, sizes, wins_by_size, products)

    return _estimate(wins, scatter, confidence)


def estimate_clustered_strengths(wins: Array, sizes: Array, confidence: float = 0.95) -> Strengths:
    """Estimate Bradley-Terry strengths from groups of items, of which some groups hang together.

    As `estimate_strengths`, with the sums over clusters in the place of those over groups, and with intervals by
    Student's t. Where the wins had to be helped to a finite answer, or all groups are one cluster, the groups of a
    cluster are taken to tell no more than one.

    Args:
        wins: How often i beat j in the groups of each cluster, a tie counting a half, `[clusters, N, N]`.
        sizes: How many groups each cluster has, `[clusters]`, at least 1.
        confidence: How often such intervals hold the true strength, in (0, 1).

    Raises:
        ValueError: As by `estimate_strengths`, or if the sizes are of another number of clusters.
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    if sizes.shape != wins.shape[:1] or not (sizes >= 1).all():
        raise ValueError(
            f"Argument `sizes` must hold {len(wins)} numbers of at least 1, but got {sizes.tolist()}."
        )
    count = len(sizes)
    wins = wins * ~np.eye(wins.shape[-1], dtype=bool)
    met = wins + wins.transpose(0, 2, 1)

    def scatter(chances: Array) -> Array | None:
        if count < 2:
            return None
        surplus = (wins - met * chances).sum(axis=2)
        return np.asarray(surplus.T @ surplus * count / (count - 1))

    if (sizes == 1).all():
        return _estimate(wins.sum(axis=0), scatter, confidence)
    groups = sizes.sum()
    effective = groups**2 / (sizes**2).sum()
    return _estimate(wins.sum(axis=0), scatter, confidence, groups / effective, effective - 1)


def _estimate(
    wins: Array,
    scatter: Callable[[Array], Array | None],
    confidence: float,
    inflation: float = 1.0,
    degrees: float | None = None,
) -> Strengths:
    """Return strengths with intervals.

    Args:
        wins: As `estimate_strengths` takes them.
        scatter: Gives the sum of outer products of scores, from how likely i beats j; None if there is none.
        confidence: Of the intervals.
        inflation: How many times as large the variance is where it comes from the information alone.
        degrees: The degrees of freedom of the scatter; None for many.
    """
    wins = np.asarray(wins, dtype=np.float64)
    n = len(wins)
    if wins.ndim != 2 or n < 2 or wins.shape != (n, n) or not (wins >= 0).all():
        raise ValueError(
            f"Argument `wins` must hold counts in shape [N, N] with N >= 2, but got shape {list(wins.shape)}."
        )
    check_confidence(confidence)
    wins = wins * ~np.eye(n, dtype=bool)
    met = wins + wins.T
    if not _reaches_all(met):
        raise ValueError("Argument `wins` must tie all items together by meetings, but some never met.")
    regularised = not (_reaches_all(wins) and _reaches_all(wins.T))
    if regularised:
        wins = wins + _PSEUDO_WINS * (met > 0)
        met = wins + wins.T
    values = _maximise(wins, met)
    chances = _chances(values)
    covariance = np.linalg.pinv(_information(met, chances), hermitian=True)
    spread = None if regularised else scatter(chances)
    covariance = inflation * covariance if spread is None else covariance @ spread @ covariance
    if spread is None or degrees is None:
        quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    else:
        # SciPy takes a while to load.
        from scipy.special import stdtrit

        quantile = float(stdtrit(degrees, (1 + confidence) / 2))
    half = quantile * np.sqrt(np.diag(covariance))
    return Strengths(values, values - half, values + half, regularised)


def _chances(values: Array) -> Array:
    """Return how likely i beats j, 0 on the diagonal."""
    gaps = values[:, None] - values
    return np.asarray(np.exp(-np.logaddexp(0, -gaps)) * ~np.eye(len(values), dtype=bool))


def _information(met: Array, chances: Array) -> Array:
    weights = met * chances * chances.T
    return np.asarray(np.diag(weights.sum(axis=1)) - weights)


def _maximise(wins: Array, met: Array) -> Array:
    """Return the likeliest strengths by Newton's method, with steps halved where they overshoot."""

    def likelihood(values: Array) -> float:
        return -float((wins * np.logaddexp(0, values - values[:, None])).sum())

    values = np.zeros(len(wins))
    reached = likelihood(values)
    for _ in range(_STEPS):
        chances = _chances(values)
        slope = (wins - met * chances).sum(axis=1)
        step = np.linalg.pinv(_information(met, chances), hermitian=True) @ slope
        if np.abs(step).max() < _CONVERGED:
            break
        # Near the top rounding hides what is gained.
        while likelihood(values + step) < reached - 1e-12 * abs(reached):
            step = step / 2
        values = values + step
        reached = likelihood(values)
    return np.asarray(values - values.mean())


def _scatter(chances: Array, sizes: Array, wins_by_size: Array, products: Array) -> Array:
    """Return the sum over groups of the outer products of the scores, wins less those expected.

    Its factor makes up for the strengths being fitted to the same groups.
    """
    # Row n: the wins that each item may expect in a group of the first n + 1 items.
    expected = np.tril(chances.cumsum(axis=1).T)
    crossed = np.asarray(wins_by_size, dtype=np.float64).T @ expected
    counts = np.asarray(sizes, dtype=np.float64)
    scatter = products - crossed - crossed.T + (expected * counts[:, None]).T @ expected
    groups = counts.sum()
    return np.asarray(scatter * groups / max(1.0, groups - 1))


def _reaches_all(edges: Array) -> bool:
    """Whether the first item leads to all others."""
    reached = np.zeros(len(edges), dtype=bool)
    reached[0] = True
    for _ in range(len(edges)):
        reached |= (edges[reached] > 0).any(axis=0)
    return bool(reached.all())
