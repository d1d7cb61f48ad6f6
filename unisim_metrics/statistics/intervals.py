"""How sure an accuracy is: intervals of shares, and of means of shares, in closed form.

They need counts only. Where the answer to each sample is known, `confidence` has intervals that hold for means of any
values, for samples that hang together and for differences of models on the same samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of two, with its confidence interval.

    Attributes:
        value: The figure, in [0, 1] or [-1, 1].
        low: Where the interval begins.
        high: Where it ends.
    """

    value: float
    low: float
    high: float


def estimate_share(right: int, n: int, confidence: float = 0.95) -> Estimate:
    """Estimate a share from independent trials, with Wilson's score interval (1927).

    Unlike the plain normal interval it stays in [0, 1] and keeps its coverage for few trials and for shares near 0
    or 1.

    Args:
        right: Trials that succeeded.
        n: All trials.
        confidence: How often such intervals hold the true share, in (0, 1).

    Raises:
        ValueError: If there is no trial, more succeeded than there are, or the confidence is out of its range.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(
            f"Arguments `right` and `n` must fulfil 0 <= right <= n and n >= 1, got {right} and {n}."
        )
    return estimate_mean_share(right, right, n, confidence)


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
    check_confidence(confidence)
    weight = NormalDist().inv_cdf((1 + confidence) / 2) ** 2 / n
    mean, deficit = total / n, (total - squares) / (n + 1)
    middle = (mean + weight / 2) / (1 + weight)
    inner = weight * (mean * (1 - mean) - deficit) + weight * weight * (1 / 4 - deficit)
    half = math.sqrt(max(0.0, inner)) / (1 + weight)
    return Estimate(mean, min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half)))


def estimate_mean(estimates: Sequence[Estimate]) -> Estimate:
    """Estimate the plain mean of independent shares.

    The distances from the means to their ends add up in squares, below and above by themselves (MOVER; Zou and
    Donner, 2008). The mean of one share is that share.

    Args:
        estimates: The shares, all of one confidence, which the result then has.

    Raises:
        ValueError: If there is none.
    """
    if not estimates:
        raise ValueError("Argument `estimates` must hold at least one estimate, but it is empty.")
    count = len(estimates)
    value = fmean(estimate.value for estimate in estimates)
    below = math.hypot(*(estimate.value - estimate.low for estimate in estimates)) / count
    above = math.hypot(*(estimate.high - estimate.value for estimate in estimates)) / count
    return Estimate(value, value - below, value + above)


def check_confidence(confidence: float) -> None:
    """Raise a `ValueError` unless the confidence lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` must lie between 0 and 1, but got {confidence}.")
