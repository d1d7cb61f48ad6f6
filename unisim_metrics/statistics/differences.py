"""By how much two differ on the same trials: the mean of paired differences, and which could be seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters
from .intervals import Estimate, check_confidence


@dataclass(frozen=True)
class MeanDifference:
    """The mean of paired differences.

    Attributes:
        mean: The mean with its interval; the ends are NaN where a single cluster tells nothing of others.
        p: The two-sided p-value of the paired t-test: is the mean 0? 1 where nothing tells.
    """

    mean: Estimate
    p: float


def estimate_mean_difference(
    differences: NDArray[np.float64], clusters: Clusters | None = None, confidence: float = 0.95
) -> MeanDifference:
    """Estimate the mean of paired differences.

    The paired t-test and its interval. Where differences hang together, the variance is the cluster-robust one, with
    its degrees of freedom: see `Clusters.spread`.

    Args:
        differences: The differences, `[n]`.
        clusters: Which of them hang together; None if none do.
        confidence: How often such intervals hold the true mean, in (0, 1).

    Raises:
        ValueError: If there is no difference, the clusters are of another number of them, or the confidence is out of
            its range.
    """
    # SciPy takes a while to load.
    from scipy.special import stdtr, stdtrit

    check_confidence(confidence)
    clusters = _clusters_of(differences, clusters)
    value = math.fsum(differences) / len(differences)
    spread = clusters.spread(differences)
    if not spread.degrees:
        return MeanDifference(Estimate(value, math.nan, math.nan), 1.0)
    error, degrees = math.sqrt(spread.variance), spread.degrees
    half = error * float(stdtrit(degrees, (1 + confidence) / 2))
    # Without any spread the statistic is none or without end.
    statistic = abs(value) / error if error else math.inf if value else 0.0
    return MeanDifference(Estimate(value, value - half, value + half), 2 * float(stdtr(degrees, -statistic)))


def detectable_mean(
    differences: NDArray[np.float64],
    clusters: Clusters | None = None,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return how large a mean has to be for its one-sided test to find it, by the spread of these differences.

    The usual approximation: the quantiles of Student's t at the level and at the power, in standard errors.

    Args:
        differences: The differences, `[n]`.
        clusters: Which of them hang together; None if none do.
        level: At which p-value a mean is found to be above 0, in (0, 1).
        power: How often it has to be found, in (0, 1).

    Returns:
        The mean; NaN where a single cluster tells nothing of others.

    Raises:
        ValueError: If there is no difference, the clusters are of another number of them, or a share is out of its
            range.
    """
    from scipy.special import stdtrit

    for name, share in (("level", level), ("power", power)):
        if not 0 < share < 1:
            raise ValueError(f"Argument `{name}` must lie between 0 and 1, but got {share}.")
    clusters = _clusters_of(differences, clusters)
    spread = clusters.spread(differences)
    if not spread.degrees:
        return math.nan
    quantiles = float(stdtrit(spread.degrees, 1 - level) + stdtrit(spread.degrees, power))
    return quantiles * math.sqrt(spread.variance)


def _clusters_of(differences: NDArray[np.float64], clusters: Clusters | None) -> Clusters:
    """The clusters of differences, both checked."""
    if differences.ndim != 1 or not len(differences):
        raise ValueError(
            f"Argument `differences` must be of shape [n] with n >= 1, but got {list(differences.shape)}."
        )
    clusters = Clusters.independent(len(differences)) if clusters is None else clusters
    if len(clusters) != len(differences):
        raise ValueError(
            f"Argument `clusters` must be of {len(differences)} differences, but got {len(clusters)}."
        )
    return clusters
