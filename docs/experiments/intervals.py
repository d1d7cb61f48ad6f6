"""How sure the mean of a few values is, by Student's t."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the mean of `[S]` values and half of its 95 % interval, NaN for a single value."""
    from scipy import stats

    spread = stats.sem(values) if len(values) > 1 else float("nan")
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * spread)
