"""How much a difference of scores says about people's choices: a logistic fit through the origin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters

# Newton's method doubles its digits each step.
_STEPS = 100
_CONVERGED = 1e-13


@dataclass(frozen=True)
class LogisticSlope:
    """The odds of a choice are exp(slope × difference of scores).

    Attributes:
        value: The slope, by maximum likelihood.
        low: Where its interval begins.
        high: Where it ends.
    """

    value: float
    low: float
    high: float


def fit_slope(
    differences: NDArray[np.float64],
    chosen: NDArray[np.bool_],
    clusters: Clusters | None = None,
    confidence: float = 0.95,
) -> LogisticSlope:
    """Fit the chance that people choose the first of two to how much higher its score is.

    Without an intercept: which of two comes first says nothing, and equal scores are even odds. This is the model of
    Bradley and Terry with scores for strengths, up to their unit. The interval is Wald's by Student's t, with the
    cluster-robust variance (Liang and Zeger, 1986; several labels a pair: multiway).

    Args:
        differences: The score of the first less that of the second, `[n]`.
        chosen: Whether people chose the first, `[n]`.
        clusters: Which pairs hang together; None if none do.
        confidence: How often such intervals hold the true slope, in (0, 1).

    Raises:
        ValueError: If the shapes differ, a difference is not finite, no scores differ, people always chose the higher
            score or always the lower one, where no finite slope is the likeliest, all pairs hang together, or the
            confidence is out of its range.
    """
    differences = np.asarray(differences, dtype=np.float64)
    chosen = np.asarray(chosen, dtype=np.bool_)
    if differences.ndim != 1 or differences.shape != chosen.shape or not np.isfinite(differences).all():
        raise ValueError(
            "Arguments `differences` and `chosen` must be of one shape [n], the former finite, but got"
            f" {list(differences.shape)} and {list(chosen.shape)}, {np.sum(~np.isfinite(differences))} not finite."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"Argument `confidence` must lie between 0 and 1, but got {confidence}.")
    if clusters is not None and len(clusters) != len(differences):
        raise ValueError(f"Argument `clusters` must be of {len(differences)} pairs, but got {len(clusters)}.")
    if clusters is not None and clusters.count < 2:
        raise ValueError("Argument `clusters` must be two or more, but all pairs hang together as one.")
    # Towards what people chose.
    towards = np.where(chosen, differences, -differences)
    if not (towards > 0).any() or not (towards < 0).any():
        raise ValueError(
            "Argument `chosen` must be with the higher score in some pairs and against it in others, for a finite"
            f" slope, but of {len(towards)} pairs {np.sum(towards > 0)} are with it and {np.sum(towards < 0)} against."
        )
    unit = float(np.abs(towards).max())
    slope = _maximise(towards / unit) / unit
    wrong = 1 / (1 + np.exp(np.clip(slope * towards, -700, 700)))
    information = float((towards**2 * wrong * (1 - wrong)).sum())
    clusters = Clusters.independent(len(towards)) if clusters is None else clusters
    # The variance of the sum of the scores of the likelihood, from that of their mean.
    spread = clusters.spread(wrong * towards)
    scatter = spread.variance * len(towards) ** 2
    # SciPy takes a while to load.
    from scipy.special import stdtrit

    half = float(stdtrit(spread.degrees, (1 + confidence) / 2)) * math.sqrt(scatter) / information
    if not math.isfinite(half):
        raise ValueError("Argument `clusters` must not be one with next to all pairs: no others tell of it.")
    return LogisticSlope(slope, slope - half, slope + half)


def _maximise(towards: NDArray[np.float64]) -> float:
    """Return the likeliest slope by Newton's method, with steps halved where they overshoot."""

    def loss(slope: float) -> float:
        return float(np.logaddexp(0, -slope * towards).sum())

    slope, reached = 0.0, loss(0.0)
    for _ in range(_STEPS):
        wrong = np.exp(-np.logaddexp(0, slope * towards))
        step = float((towards * wrong).sum() / (towards**2 * wrong * (1 - wrong)).sum())
        while loss(slope + step) > reached + 1e-12 * abs(reached):
            step /= 2
        slope += step
        reached = loss(slope)
        if abs(step) < _CONVERGED * max(1.0, abs(slope)):
            break
    return slope
