"""Bootstrap intervals against SciPy's and all possible resamples, and by how often they hold the truth."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from unisim_metrics.statistics.bootstrap import (
    average,
    draws,
    estimate,
    percentiles,
    resample,
    resample_together,
)
from unisim_metrics.statistics.stream import Stream

RIGHT = (np.random.default_rng(0).random(300) < 0.7).astype(np.float64)
PRECISION = np.random.default_rng(1).random((70, 2))


def test_interval_is_that_of_scipy() -> None:
    for values in (RIGHT, PRECISION[:, 0]):
        ours = estimate(values, "set", 0, resamples=9999)
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(2)
        )
        assert ours.value == pytest.approx(values.mean(), abs=1e-15)
        # Both are random: ends of 9999 resamples vary by about a thirtieth of the interval.
        width = ours.high - ours.low
        assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.06 * width)


def test_resamples_are_those_of_the_draws() -> None:
    indices = np.concatenate(list(draws(70, 400, Stream("set", 3))), axis=1)
    assert indices.shape == (70, 400)
    expected = PRECISION[indices].mean(axis=0).mean(axis=1)
    assert resample(PRECISION, "set", 3, resamples=400) == pytest.approx(expected, abs=1e-14)
    gaps = PRECISION.copy()
    gaps[::3, 1] = np.nan
    expected = np.nanmean(gaps[indices], axis=0).mean(axis=1)
    assert resample(gaps, "set", 3, resamples=400) == pytest.approx(expected, abs=1e-14)


def test_every_resample_is_equally_likely() -> None:
    """All 27 draws of three samples, counted by chi-squared."""
    drawn = np.concatenate(list(draws(3, 27_000, Stream("uniform"))), axis=1)
    codes, counts = np.unique(drawn.T @ [9, 3, 1], return_counts=True)
    assert codes.tolist() == [9 * a + 3 * b + c for a, b, c in itertools.product(range(3), repeat=3)]
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(("n", "share"), [(40, 0.6), (150, 0.9)])
def test_holds_the_truth_as_often_as_it_says(n: int, share: float) -> None:
    rng = np.random.default_rng(n)
    trials = (rng.random((600, n)) < share).astype(np.float64)
    found = [estimate(values, "coverage", number, resamples=399) for number, values in enumerate(trials)]
    covered = np.mean([interval.low <= share <= interval.high for interval in found])
    # A percentile interval of n samples is a little too narrow.
    assert 0.91 < covered < 0.975


def test_interval_is_too_narrow_where_pairs_share_images() -> None:
    """As many images and pairs as KonIQ has; the model errs on images, and so on all pairs of an image."""
    rng = np.random.default_rng(0)
    figures = []
    for _ in range(200):
        truth = rng.normal(size=2015)
        score = truth + rng.normal(size=2015)
        first = rng.integers(0, 2015, 5000)
        second = (first + rng.integers(1, 2015, 5000)) % 2015
        right = (truth[first] > truth[second]) == (score[first] > score[second])
        figures.append(right.mean())
    found = estimate(right.astype(np.float64), "koniq-10k", 0, resamples=399)
    assert 1.1 < 2 * 1.96 * np.std(figures) / (found.high - found.low) < 1.45


@pytest.mark.parametrize(("share", "n"), [(1.0, 1), (1.0, 10), (0.0, 10), (0.3, 1)])
def test_values_that_are_all_equal_prove_little(share: float, n: int) -> None:
    found = estimate(np.full(n, share), "set", resamples=9999)
    low, high = stats.beta.ppf([0.025, 0.975], n * share + 1, n * (1 - share) + 1)
    assert found.value == share
    assert (found.low, found.high) == pytest.approx((min(low, share), max(high, share)), abs=0.02)
    assert found.high - found.low > 0.2


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 2)), elements=st.floats(0, 1)),
    st.floats(0.5, 0.99),
)
def test_interval_holds_the_figure(values: np.ndarray, confidence: float) -> None:
    found = estimate(values, "set", resamples=99, confidence=confidence)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == average(values) == pytest.approx(values.mean(axis=0).mean())
    wider = estimate(values, "set", resamples=99, confidence=1 - (1 - confidence) / 2)
    assert wider.low <= found.low
    assert found.high <= wider.high


def test_models_share_their_draws() -> None:
    better = np.maximum(RIGHT, np.random.default_rng(5).random(300) < 0.1)
    first, second = resample_together([RIGHT, better], "set", 0, resamples=500)
    assert (second >= first).all()
    assert np.array_equal(first, resample(RIGHT, "set", 0, resamples=500))
    assert np.array_equal(first[:100], resample(RIGHT, "set", 0, resamples=100))
    assert np.array_equal(resample(RIGHT, "set", 0) - resample(RIGHT, "set", 0), np.zeros(1999))
    for other in (("set", 1), ("other", 0)):
        assert not np.array_equal(first, resample(RIGHT, *other, resamples=500))


def test_same_interval_on_any_machine() -> None:
    values = (np.arange(200) % 3 > 0).astype(np.float64)
    found = estimate(values, "nights", 0)
    assert (found.low, found.high) == (0.6, 0.73)
    block = next(draws(5000, 300, Stream("nights", 0)))
    assert block[:3, :3].tolist() == [[4397, 3656, 4727], [2470, 4665, 3778], [3065, 200, 238]]
    assert hashlib.sha256(block.astype("<i8").tobytes()).hexdigest().startswith("f8640ff4a8fb9859")
    assert estimate(np.ones(7), "nights", 0).low == 0.640884511


def test_interval_needs_no_scipy() -> None:
    code = (
        "import sys, numpy as np; from unisim_metrics.statistics.bootstrap import estimate;"
        "estimate(np.array([0.0, 1.0]), 'set'); assert 'scipy' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gaps_are_left_out() -> None:
    gaps = RIGHT.copy()
    gaps[::7] = np.nan
    assert estimate(gaps, "set", 0).value == pytest.approx(np.nanmean(gaps))
    # Both columns count alike, however many queries each has.
    assert average(np.array([[1.0, 0.0], [np.nan, 0.5], [np.nan, 1.0]])) == 0.75
    # A resample without any value says nothing.
    alone = np.array([[0.2, 0.1], [np.nan, 0.3], [0.4, 0.2]])
    resampled = resample(alone, "set", resamples=200)
    assert 0 < np.isnan(resampled).sum() < 50
    assert not np.isnan(percentiles(0.25, resampled).low)


def test_percentiles_are_resamples() -> None:
    resampled = np.random.default_rng(0).permutation(1999) / 1000
    assert percentiles(1.0, resampled).low == pytest.approx(0.049)
    assert percentiles(1.0, resampled).high == pytest.approx(1.949)
    assert percentiles(1.0, resampled, 0.9).low == pytest.approx(0.099)
    assert percentiles(0.01, resampled).low == 0.01


def test_bad_arguments() -> None:
    for values in (np.array([]), np.array([np.nan]), np.array([[1.0, np.nan]]), np.ones((2, 2, 2))):
        with pytest.raises(ValueError, match=r"`values` must be of shape \[n\]"):
            estimate(values, "set")
    with pytest.raises(ValueError, match="`resamples` must be at least 1, but got 0"):
        estimate(RIGHT, "set", resamples=0)
    with pytest.raises(ValueError, match="`confidence` must lie between 0 and 1, but got 95"):
        estimate(RIGHT, "set", confidence=95)
    with pytest.raises(ValueError, match=r"as many samples each, but got \[300, 70\]"):
        resample_together([RIGHT, PRECISION], "set")
    with pytest.raises(ValueError, match="`resampled` must hold at least one"):
        percentiles(0.5, np.array([np.nan]))
