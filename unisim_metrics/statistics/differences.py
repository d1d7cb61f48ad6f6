"""By how much two differ on the same trials: the mean of paired differences, by Student's t."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import check_arguments
from .clusters import Clusters
from .intervals import Estimate


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

    The paired t-test and its interval. Where differences hang together, the variance is the cluster-robust one and the
    degrees of freedom are those of as many clusters of equal size as tell as much.

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

    check_arguments(confidence=confidence)
    if differences.ndim != 1 or not len(differences):
        raise ValueError(
            f"Argument `differences` must be of shape [n] with n >= 1, but got {list(differences.shape)}."
        )
    clusters = Clusters.independent(len(differences)) if clusters is None else clusters
    if len(clusters) != len(differences):
        raise ValueError(
            f"Argument `clusters` must be of {len(differences)} differences, but got {len(clusters)}."
        )
    value = math.fsum(differences) / len(differences)
    if clusters.count < 2:
        return MeanDifference(Estimate(value, math.nan, math.nan), 1.0)
    error, degrees = math.sqrt(clusters.variance(differences)), clusters.effective - 1
    half = error * float(stdtrit(degrees, (1 + confidence) / 2))
    # Without any spread the statistic is none or without end.
    statistic = abs(value) / error if error else math.inf if value else 0.0
    return MeanDifference(Estimate(value, value - half, value + half), 2 * float(stdtr(degrees, -statistic)))
