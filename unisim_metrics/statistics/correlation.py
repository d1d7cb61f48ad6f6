"""Which tasks order models alike: Kendall's τ between tasks over models (paper, Figure 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import RESAMPLES, check_resamples, draws, percentiles
from .intervals import Estimate, check_confidence
from .stream import Stream

# Two models have one order only.
_FEWEST = 3


@dataclass(frozen=True)
class Correlation:
    """Whether two tasks order models alike.

    Attributes:
        tau: Kendall's τ-b, from -1 (the opposite order) to 1 (the same order), with its interval; NaN where fewer
            than three models did both tasks, or one task does not tell them apart.
        p: How often chance alone makes a τ as large as this, if the orders have nothing to do with each other.
        models: How many models did both tasks.
    """

    tau: Estimate
    p: float
    models: int


def correlate(
    table: Mapping[str, Mapping[str, float]],
    tasks: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> dict[tuple[str, str], Correlation]:
    """Return Kendall's τ-b of each two tasks over the models that did both.

    The intervals are percentiles of a bootstrap over models: the question is what would be found with other models of
    the kind. That the figures themselves are of some samples only adds little to it: samples are thousands, models a
    dozen. With fewer than ten models an interval is rough, and rather too wide than too narrow.

    Args:
        table: The figure of each model on each task, in any unit; NaN, or no entry, where there is none.
        tasks: Which tasks, in which order; None for all that occur.
        resamples: How many resamples the intervals are read from.
        confidence: How often such intervals hold the true τ, in (0, 1).

    Returns:
        The correlation for each pair of different tasks, both ways round.

    Raises:
        ValueError: If the table is empty or an argument is out of its range.
    """
    from scipy.stats import kendalltau

    check_resamples(resamples)
    check_confidence(confidence)
    if not table:
        raise ValueError("Argument `table` must hold at least one model, but it is empty.")
    if tasks is None:
        tasks = list(dict.fromkeys(task for row in table.values() for task in row))
    # In the order of their names, so that the order of the table decides nothing.
    models = sorted(table)
    columns = {
        task: np.array([table[model].get(task, math.nan) for model in models], dtype=np.float64)
        for task in tasks
    }
    counts = _counts(len(models), resamples)
    found: dict[tuple[str, str], Correlation] = {}
    for index, first in enumerate(tasks):
        for second in tasks[index + 1 :]:
            x, y = columns[first], columns[second]
            known = ~(np.isnan(x) | np.isnan(y))
            tau, p = math.nan, math.nan
            if known.sum() >= _FEWEST:
                tau, p = map(float, kendalltau(x[known], y[known]))
            number = int(known.sum())
            if math.isnan(tau):
                estimate = Estimate(math.nan, math.nan, math.nan)
            elif abs(tau) > 1 - 1e-12:
                estimate = _of_one_order(tau, number, confidence)
            else:
                estimate = percentiles(tau, _resampled(x[known], y[known], counts[:, known]), confidence)
            found[first, second] = found[second, first] = Correlation(estimate, p, number)
    return found


def _of_one_order(tau: float, models: int, confidence: float) -> Estimate:
    """Return τ with an interval where both tasks have all models in one order, or the opposite: no resample varies.

    Half as many pairs as there are models share none, and none of those tells against the order. A share of contrary
    pairs that would seldom leave them all in order bounds τ, which is one less twice that share.
    """
    bound = 1 - 2 * (1 - ((1 - confidence) / 2) ** (1 / (models // 2)))
    return Estimate(1.0, bound, 1.0) if tau > 0 else Estimate(-1.0, -1.0, -bound)


def _counts(models: int, resamples: int) -> NDArray[np.float64]:
    """Return how often each resample draws each model, `[resamples, models]`."""
    blocks = [
        (drawn[..., None] == np.arange(models)).sum(axis=0)
        for drawn in draws(models, resamples, Stream("correlation"))
    ]
    return np.concatenate(blocks).astype(np.float64)


def _resampled(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return τ-b of each resample; NaN where it does not tell two models apart by both tasks.

    A model that is drawn twice is tied with itself in both tasks, and such pairs are in no part of τ-b: each pair of
    different models weighs as much as the product of their counts.
    """
    x_order, y_order = (np.sign(figures[:, None] - figures) for figures in (x, y))

    def total(orders: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(((counts @ orders) * counts).sum(axis=1))

    # Whole numbers: their sums are exact in any order.
    agreeing, scale = total(x_order * y_order), np.sqrt(total(np.abs(x_order)) * total(np.abs(y_order)))
    resampled: NDArray[np.float64] = np.divide(
        agreeing, scale, out=np.full(len(scale), np.nan), where=scale > 0
    )
    return resampled
