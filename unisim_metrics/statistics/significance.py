"""Whether two models differ by more than chance: paired tests on the same samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .confidence import ZERO


def mcnemar_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947): are two models right equally often?

    Only samples count on which one model is right and the other is not. If neither were better, each model would be
    right on half of them, give or take a binomial.

    Args:
        first: For each sample 1 if the first model is right and 0 if not, NaN if it has no choice; shape `[n]`.
        second: The same of the second model. A sample without either choice is left out.

    Raises:
        ValueError: If the shapes differ.
    """
    from scipy.stats import binomtest

    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            "Arguments `first` and `second` must be of one shape [n], but got"
            f" {list(first.shape)} and {list(second.shape)}."
        )
    gained, lost = int(np.sum(second > first)), int(np.sum(second < first))
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def draws_p(draws: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of a difference from draws of its confidence distribution.

    The smallest level at which the interval of the same draws leaves out zero: twice the share of draws in which the
    difference is not on its side of zero. One draw is added to both counts, so that no p-value is 0. Of one set it is
    that of a score test, rounded up to a multiple of 2 / (draws + 1).

    Args:
        draws: Draws of the difference, shape `[draws]`; NaN are left out.

    Raises:
        ValueError: If there is none.
    """
    ordered = np.sort(draws[~np.isnan(draws)])
    if not len(ordered):
        raise ValueError("Argument `draws` must hold at least one difference, but it is empty.")
    ranks = np.arange(1, len(ordered) // 2 + 1)
    leaves_out = np.flatnonzero((ordered[ranks - 1] > ZERO) | (ordered[-ranks] < -ZERO))
    return float(2 * ranks[leaves_out[0]] / (len(ordered) + 1)) if len(leaves_out) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method (1979), in their order.

    To call significant what is then at most 5 % errs anywhere in the table in at most 5 % of tables, however the tests
    depend on each other.

    Args:
        p_values: The p-values of one table, in [0, 1].

    Raises:
        ValueError: If one is out of its range.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"Argument `p_values` must hold values from 0 to 1, but got {list(p_values)}.")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
