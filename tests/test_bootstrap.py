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
    resample_difference,
)
from unisim_metrics.statistics.clusters import Clusters
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


def test_same_interval_on_any_machine() -> None:
    values = (np.arange(200) % 3 > 0).astype(np.float64)
    found = estimate(values, "nights", 0)
    assert (found.low, found.high) == (0.595113124959, 0.728975963548)
    block = next(draws(5000, 300, Stream("nights", 0)))
    assert block[:3, :3].tolist() == [[4397, 3656, 4727], [2470, 4665, 3778], [3065, 200, 238]]
    assert hashlib.sha256(block.astype("<i8").tobytes()).hexdigest().startswith("f8640ff4a8fb9859")


def test_gaps_are_left_out() -> None:
    gaps = RIGHT.copy()
    gaps[::7] = np.nan
    assert estimate(gaps, "set", 0).value == pytest.approx(np.nanmean(gaps))
    # Both columns count alike, however many queries each has.
    assert average(np.array([[1.0, 0.0], [np.nan, 0.5], [np.nan, 1.0]])) == 0.75


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
    with pytest.raises(ValueError, match="of one shape with NaN in the same places"):
        resample_difference(RIGHT, PRECISION, "set")
    with pytest.raises(ValueError, match="`clusters` must be of 300 samples, but got 3"):
        estimate(RIGHT, "set", clusters=Clusters.independent(3))
    with pytest.raises(ValueError, match="`resampled` must hold at least one"):
        percentiles(0.5, np.array([np.nan]))


@pytest.mark.parametrize("right", [0, 7, 35, 50])
def test_resamples_of_independent_answers_are_those_of_a_beta_distribution(right: int) -> None:
    values = (np.arange(50) < right).astype(np.float64)
    found = resample(values, "beta", resamples=4000)
    # Stretched by n / (n - 1) and the like: hardly.
    assert stats.kstest(found.figures, stats.beta(right + 1, 51 - right).cdf).statistic < 0.04


def test_resamples_have_the_variance_of_the_clusters() -> None:
    rng = np.random.default_rng(6)
    groups = rng.integers(0, 40, 2000)
    values = (rng.random(2000) < rng.random(40)[groups]).astype(np.float64)
    for clusters in (Clusters(groups), Clusters.independent(2000)):
        found = resample(values, "set", clusters=clusters, resamples=4000)
        assert found.figures.var() == pytest.approx(clusters.variance(values), rel=0.15)
        assert found.degrees == pytest.approx(clusters.effective - 1)
    other = np.maximum(values, rng.random(2000) < 0.1)
    gain = resample_difference(values, other, "set", clusters=Clusters(groups), resamples=4000)
    assert gain.value == pytest.approx(other.mean() - values.mean())
    assert gain.figures.var() == pytest.approx(Clusters(groups).variance(other - values), rel=0.15)
    assert not resample_difference(values, values, "set").figures.any()


@pytest.mark.parametrize(("share", "n"), [(1, 1), (1, 10), (1, 36), (0, 36)])
def test_values_that_are_all_equal_prove_little(share: int, n: int) -> None:
    found = estimate(np.full(n, float(share)), "set", resamples=9999)
    low, high = stats.beta.ppf([0.025, 0.975], n * share + 1, n * (1 - share) + 1)
    # The interval reaches to the figure.
    assert (found.low, found.high) == pytest.approx((min(low, share), max(high, share)), abs=0.02)
    assert found.high - found.low > 0.08
    assert found.value in (found.low, found.high)


def test_groups_that_are_all_right_prove_less() -> None:
    """Six groups of six right answers say as much as six right answers."""
    found = estimate(np.ones(36), "set", clusters=Clusters(np.arange(36) % 6), resamples=9999)
    assert (found.low, found.high) == pytest.approx((stats.beta.ppf(0.025, 7, 1), 1), abs=0.02)


@pytest.mark.parametrize("right", [[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
def test_swapped_models_have_the_turned_resamples(right: list[float]) -> None:
    first, second = np.array(right), np.array([0.0, 1.0, 1.0, 0.0])
    there, back = resample_difference(first, second, "set"), resample_difference(second, first, "set")
    assert there.value == -back.value
    assert np.array_equal(there.figures, -back.figures)
    assert there.figures.any()


def test_scipy_is_loaded_only_for_an_interval() -> None:
    code = (
        "import sys, numpy as np; from unisim_metrics.statistics.bootstrap import estimate, resample;"
        "resample(np.array([0.0, 1.0]), 'set'); assert not {'scipy', 'torch'} & set(sys.modules);"
        "estimate(np.array([0.0, 1.0]), 'set'); assert 'scipy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("groups", [4, 12])
def test_holds_the_truth_as_often_where_groups_are_few(groups: int) -> None:
    """Twenty samples a group, each group with a share of its own, 0.7 in the mean."""
    rng = np.random.default_rng(groups)
    clusters = Clusters(np.repeat(np.arange(groups), 20))
    held = []
    for number in range(300):
        right = rng.random((groups, 20)) < rng.beta(2.8, 1.2, (groups, 1))
        found = estimate(right.ravel().astype(np.float64), "few", number, clusters=clusters, resamples=499)
        held.append(found.low <= 0.7 <= found.high)
    assert 0.91 < np.mean(held) < 0.985
