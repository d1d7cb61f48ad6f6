"""Which of two wins more often: shares of wins with their intervals, exact tests, the trials still needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters
from .confidence import estimate
from .intervals import Estimate, estimate_mean_share

# A tail's further terms are below the last bit of its sum.
_NEGLIGIBLE = 1e-18


@dataclass(frozen=True)
class WinShare:
    """How often the first of two wins.

    Attributes:
        share: The share of wins with its interval, in [0, 1]; a tie counts a half.
        p: The two-sided p-value of the exact sign test: are both equally good?
        trials: All trials.
        ties: How many of them were ties.
        further: How many more trials would show the difference with a power of 80 % if it is as large as it seems;
            0 where it is shown already, None where there is none to be seen.
        design_effect: How many times as large the variance of the share is as that of independent trials.
    """

    share: Estimate
    p: float
    trials: int
    ties: int
    further: int | None
    design_effect: float = 1.0


def compare_wins(won: int, lost: int, ties: int = 0, confidence: float = 0.95) -> WinShare:
    """Estimate how often the first of two wins.

    Args:
        won: Trials that the first won.
        lost: Trials that the second won.
        ties: Trials that neither won.
        confidence: How often such intervals hold the true share, in (0, 1).

    Raises:
        ValueError: If a count is negative, there is no trial, or the confidence is out of its range.
    """
    if min(won, lost, ties) < 0 or won + lost + ties < 1:
        raise ValueError(
            "Arguments `won`, `lost` and `ties` must be counts of at least one trial, but got"
            f" {won}, {lost} and {ties}."
        )
    trials = won + lost + ties
    share = estimate_mean_share(won + ties / 2, won + ties / 4, trials, confidence)
    p = sign_test_p(won, lost)
    further = 0 if p <= 1 - confidence else further_trials(share.value, trials, ties, confidence)
    return WinShare(share, p, trials, ties, further)


def compare_clustered_wins(
    values: NDArray[np.float64], clusters: Clusters, confidence: float = 0.95
) -> WinShare:
    """Estimate how often the first of two wins over trials of which some hang together.

    Where no two do, all is as by `compare_wins`. Otherwise the interval is that of `confidence.estimate`, and the test
    is `cluster_sign_test_p`.

    Args:
        values: What each trial gives the first, `[n]`: 1 for a win, a half for a tie, 0.
        clusters: Which trials hang together.
        confidence: How often such intervals hold the true share, in (0, 1).

    Raises:
        ValueError: If there is no trial, the clusters are of another number of trials, or the confidence is out of its
            range.
    """
    won, lost, ties = (int((values == value).sum()) for value in (1, 0, 0.5))
    if clusters.is_independent:
        return compare_wins(won, lost, ties, confidence)
    share = estimate(values, clusters, confidence)
    p = cluster_sign_test_p(clusters.totals(np.round(2 * values - 1)).astype(np.int64))
    variance, independent = clusters.spread(values).variance, float(values.var()) / len(values)
    effect = max(1.0, variance / independent) if variance > 0 and independent > 0 else 1.0
    further = 0 if p <= 1 - confidence else further_trials(share.value, len(values), ties, confidence, effect)
    return WinShare(share, p, len(values), ties, further, effect)


def further_trials(
    share: float, trials: int, ties: int, confidence: float = 0.95, design_effect: float = 1.0
) -> int | None:
    """Return how many more trials would show a difference, not shown yet, with a power of 80 % if it is as it seems.

    Args:
        share: The share of wins that was seen, in [0, 1].
        trials: Over so many trials.
        ties: How many of them were ties.
        confidence: One less the level of the test, in (0, 1).
        design_effect: How many times as large the variance is as that of independent trials.

    Returns:
        The number, at least 1; None where there is no difference to be seen.
    """
    needed = needed_trials(share, ties / trials, confidence)
    # As many trials as are needed on average may have been made without luck.
    return None if needed is None else max(1, math.ceil(needed * design_effect) - trials)


def sign_test_p(won: int, lost: int) -> float:
    """Return the two-sided p-value of the exact sign test: are wins and losses equally likely?

    Ties say nothing and are left out. Twice the smaller tail of a binomial of one half; 1 without any trial.

    Args:
        won: Trials that the first won.
        lost: Trials that the second won.

    Raises:
        ValueError: If a count is negative.
    """
    if min(won, lost) < 0:
        raise ValueError(f"Arguments `won` and `lost` must be counts, but got {won} and {lost}.")
    n, fewer = won + lost, min(won, lost)
    if 2 * fewer == n:
        return 1.0
    # Terms of the tail in units of its last one, from there down.
    tail = term = 1.0
    for count in range(fewer, 0, -1):
        term *= count / (n - count + 1)
        tail += term
        if term < _NEGLIGIBLE * tail:
            break
    return min(1.0, 2 * tail * math.exp(_log_fair_pmf(fewer, n)))


def cluster_sign_test_p(margins: NDArray[np.int64]) -> float:
    """Return the two-sided p-value of the exact sign test over clusters: are two equally good?

    If they were, exchanging the two in any cluster would change nothing, so that its margin is as likely to have
    either sign. The p-value is the share of all such exchanges whose sum of margins is as far from 0 as the one that
    was seen (a randomisation test under approximate symmetry; Canay, Romano and Shaikh, 2017). With one trial a cluster
    it is the sign test.

    Args:
        margins: By how many trials the first won each cluster, less those that it lost, integers `[clusters]`.
    """
    seen = abs(int(margins.sum()))
    sizes, counts = np.unique(np.abs(margins[margins != 0]), return_counts=True)
    if not seen:
        return 1.0
    # How likely each sum is: entry i stands for 2 i less the sum of all sizes.
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = _fair_pmf(count)
        chances = np.convolve(chances, spread)
    sums = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(sums) >= seen].sum()))


def needed_trials(
    share: float, ties: float = 0.0, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Return how many trials show a share of wins to differ from a half.

    The normal approximation of a two-sided test of one mean.

    Args:
        share: The true share of wins, a tie counting a half, in [0, 1].
        ties: The true share of ties, in [0, 1].
        confidence: One less the level of the test, in (0, 1).
        power: How often the test is to show the difference, in (0, 1).

    Returns:
        The number of trials, at least 1; None if there is no difference.
    """
    difference = share - 0.5
    if difference == 0:
        return None
    normal = NormalDist()
    null = math.sqrt((1 - ties) / 4)
    spread = math.sqrt(max(0.0, share * (1 - share) - ties / 4))
    scaled = normal.inv_cdf((1 + confidence) / 2) * null + normal.inv_cdf(power) * spread
    return max(1, math.ceil((scaled / difference) ** 2))


def detectable_share(
    trials: int, ties: float = 0.0, confidence: float = 0.95, power: float = 0.8
) -> float | None:
    """Return the smallest share of wins above a half that so many trials show to differ from it.

    The inverse of `needed_trials`.

    Args:
        trials: How many; they may be fewer than were made, where some hang together.
        ties: The true share of ties, in [0, 1].
        confidence: One less the level of the test, in (0, 1).
        power: How often the test is to show the difference, in (0, 1).

    Returns:
        The share, in (1/2, 1]; None if even a share without any loss would not show, or all are ties.
    """
    normal = NormalDist()
    level, chance = normal.inv_cdf((1 + confidence) / 2), normal.inv_cdf(power)
    variance, room = (1 - ties) / 4, trials + chance**2 - level**2
    if room < 0 or not variance:
        return None
    difference = math.sqrt(variance) * (math.sqrt(trials) * level + chance * math.sqrt(room))
    share = 0.5 + difference / (trials + chance**2)
    return share if share <= 1 - ties / 2 else None


def _fair_pmf(n: int) -> NDArray[np.float64]:
    """Return how likely each number of heads is of `n` fair coins, `[n + 1]`."""
    # SciPy takes a while to load.
    from scipy.special import gammaln

    logarithms = gammaln(np.arange(1, n + 2))
    # Up to a factor, in which the rounding errors of large logarithms would meet.
    likely = np.exp(2 * logarithms[n // 2] - logarithms - logarithms[::-1])
    return np.asarray(likely / likely.sum())


def _log_fair_pmf(successes: int, n: int) -> float:
    """Return the logarithm of how likely so many of `n` fair coins show heads."""
    return math.lgamma(n + 1) - math.lgamma(successes + 1) - math.lgamma(n - successes + 1) - n * math.log(2)
