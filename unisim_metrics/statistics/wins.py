"""Which of two wins more often: shares of wins with a score interval, an exact test, the trials still needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from .intervals import Estimate

# A tail's further terms are below the last bit of its sum.
_NEGLIGIBLE = 1e-18


@dataclass(frozen=True)
class WinShare:
    """How often the first of two wins, over independent trials.

    Attributes:
        share: The share of wins with its interval, in [0, 1]; a tie counts a half.
        p: The two-sided p-value of the exact sign test: are both equally good?
        trials: All trials.
        ties: How many of them were ties.
        further: How many more trials would show the difference with a power of 80 % if it is as large as it seems;
            0 where it is shown already, None where there is none to be seen.
    """

    share: Estimate
    p: float
    trials: int
    ties: int
    further: int | None


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
    if p <= 1 - confidence:
        return WinShare(share, p, trials, ties, 0)
    needed = needed_trials(share.value, ties / trials, confidence)
    # As many trials as are needed on average may have been made without luck.
    return WinShare(share, p, trials, ties, None if needed is None else max(1, needed - trials))


def estimate_mean_share(total: float, squares: float, n: int, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of independent values in [0, 1], most of which are 0 or 1, with a score interval.

    Wilson's interval (1927) is where the share that was seen is not too far from the true one, p, whose variance is
    p (1 − p). Values between 0 and 1, a half for a tie, vary less, by what their squares fall short of them. That
    deficit is estimated as if there were one trial more, without any: trials that all were ties do not prove that
    all ever will be. Without ties the interval is Wilson's.

    Args:
        total: The sum of the values.
        squares: The sum of their squares.
        n: How many there are.
        confidence: How often such intervals hold the true mean, in (0, 1).

    Raises:
        ValueError: If there is no value, the sums do not fit, or the confidence is out of its range.
    """
    if n < 1 or not 0 <= squares <= total <= n:
        raise ValueError(
            "Arguments `squares`, `total` and `n` must fulfil 0 <= squares <= total <= n and n >= 1, but got"
            f" {squares}, {total} and {n}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` must lie between 0 and 1, but got {confidence}.")
    weight = NormalDist().inv_cdf((1 + confidence) / 2) ** 2 / n
    mean, deficit = total / n, (total - squares) / (n + 1)
    middle = (mean + weight / 2) / (1 + weight)
    inner = weight * (mean * (1 - mean) - deficit) + weight * weight * (1 / 4 - deficit)
    half = math.sqrt(max(0.0, inner)) / (1 + weight)
    return Estimate(mean, min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half)))


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
    log_pmf = math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1) - n * math.log(2)
    # Terms of the tail in units of its last one, from there down.
    tail = term = 1.0
    for count in range(fewer, 0, -1):
        term *= count / (n - count + 1)
        tail += term
        if term < _NEGLIGIBLE * tail:
            break
    return min(1.0, 2 * tail * math.exp(log_pmf))


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
