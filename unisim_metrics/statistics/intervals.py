"""How sure an accuracy is: intervals of shares, and of means of shares, in closed form.

They need counts only, and are the better ones for few trials. Where the answer to each sample is known, `bootstrap` has
intervals that hold for means of any values and for differences of models on the same samples.
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
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` must lie between 0 and 1, but got {confidence}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the exact value is the share itself, which rounding may miss.
    return Estimate(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


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
