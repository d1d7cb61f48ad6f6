"""Intervals against SciPy's, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from unisim_metrics.statistics.intervals import Estimate, estimate_mean, estimate_share


@given(st.integers(1, 100_000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_share_is_that_of_scipy(n: int, share: float, confidence: float) -> None:
    right = round(share * n)
    ours = estimate_share(right, n, confidence)
    theirs = binomtest(right, n).proportion_ci(confidence, method="wilson")
    assert ours.value == right / n
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_mean_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truths, sizes = np.array([0.95, 0.6, 0.85]), np.array([40, 200, 90])
    means = [
        estimate_mean([estimate_share(int(right), int(n)) for right, n in zip(row, sizes, strict=True)])
        for row in rng.binomial(sizes, truths, size=(4000, 3))
    ]
    covered = np.mean([mean.low <= truths.mean() <= mean.high for mean in means])
    assert 0.94 < covered < 0.97
    # Independent errors cancel: the mean is surer than its parts.
    assert means[0].high - means[0].low < 0.8 * max(
        share.high - share.low for share in map(estimate_share, (38, 120, 76), (40, 200, 90))
    )


def test_mean_of_one_is_it() -> None:
    share = estimate_share(9, 10)
    mean = estimate_mean([share])
    assert (mean.value, mean.low, mean.high) == pytest.approx((share.value, share.low, share.high))
    assert estimate_mean([Estimate(0.5, 0.4, 0.7)] * 4) == Estimate(0.5, 0.45, 0.6)


@pytest.mark.parametrize("arguments", [(0, 0), (3, 2), (-1, 2)])
def test_bad_counts(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= right <= n"):
        estimate_share(*arguments)
    with pytest.raises(ValueError, match="between 0 and 1, but got 95"):
        estimate_share(1, 2, 95)
    with pytest.raises(ValueError, match="at least one estimate"):
        estimate_mean([])
