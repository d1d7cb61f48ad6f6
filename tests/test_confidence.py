"""Score intervals and draws against statsmodels and SciPy, by the score test itself, and at the edges."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import (
    average,
    draw,
    draw_difference,
    estimate,
    estimate_of_groups,
)
from unisim_metrics.statistics.intervals import estimate_share

RIGHT = (np.random.default_rng(0).random(300) < 0.7).astype(np.float64)
PRECISION = np.random.default_rng(1).random((70, 2))


def robust_variance(values: np.ndarray, labels: np.ndarray) -> float:
    """The cluster-robust variance of the mean, by statsmodels."""
    fitted = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": labels})
    return float(fitted.bse[0] ** 2)


def not_rejected(value: float, trials: float, quantile: float, lowest: float = 0.0) -> tuple[float, float]:
    """The true figures that a score test does not reject, by root finding."""

    def statistic(true: float) -> float:
        return (value - true) ** 2 * trials - quantile**2 * (true - lowest) * (1 - true)

    return tuple(
        optimize.brentq(statistic, value, end, xtol=1e-13) if value != end else end for end in (lowest, 1.0)
    )


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 36), (7, 50), (35, 50), (50, 50), (2999, 5000)])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_of_independent_answers_it_is_wilsons(right: int, n: int, confidence: float) -> None:
    found = estimate((np.arange(n) < right).astype(np.float64), confidence=confidence)
    expected = proportion_confint(right, n, 1 - confidence, "wilson")
    assert found.value == right / n
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
    closed = estimate_share(right, n, confidence)
    assert (found.low, found.high) == pytest.approx((closed.low, closed.high), abs=1e-9)


@pytest.mark.parametrize(("n", "groups"), [(50, 5), (50, 10), (400, 37)])
def test_of_groups_it_is_the_score_test_of_their_variance(n: int, groups: int) -> None:
    rng = np.random.default_rng(groups)
    labels = np.sort(rng.integers(0, groups, n))
    values = (rng.random(n) < rng.beta(5, 2, groups)[labels]).astype(np.float64)
    variance, share = robust_variance(values, labels), values.mean()
    sizes = np.bincount(labels)
    degrees = (n**2 / (sizes**2).sum() - 1) * (1 + 2 / (n * share * (1 - share)))
    trials = share * (1 - share) / variance
    for confidence in (0.9, 0.95):
        found = estimate(values, Clusters(labels), confidence)
        expected = not_rejected(share, trials, stats.t.ppf((1 + confidence) / 2, degrees))
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
        sums = np.bincount(labels, values)
        assert astuple(estimate_of_groups(sums, sizes, confidence)) == pytest.approx(
            astuple(found), abs=1e-12
        )


def test_of_retrieval_each_query_moves_both_protocols() -> None:
    values = PRECISION.copy()
    values[::7, 1] = np.nan
    found = estimate(values)
    gaps = values - np.nanmean(values, axis=0)
    counts = (~np.isnan(values)).sum(axis=0)
    moved = (np.nan_to_num(gaps) / counts).sum(axis=1) / 2
    variance, n = float((moved**2).sum()) * 70 / 69, 70
    share = np.nanmean(values, axis=0).mean()
    degrees = (n - 1) * (1 + 2 / (n * share * (1 - share)))
    expected = not_rejected(share, share * (1 - share) / variance, stats.t.ppf(0.975, degrees))
    assert found.value == pytest.approx(share, abs=1e-15)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 2)), elements=st.floats(0, 1)),
    st.integers(1, 12),
    st.floats(0.5, 0.99),
)
def test_interval_holds_the_figure(values: np.ndarray, groups: int, confidence: float) -> None:
    clusters = Clusters(np.arange(len(values)) % groups)
    found = estimate(values, clusters, confidence)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value == average(values) == pytest.approx(values.mean(axis=0).mean())
    wider = estimate(values, clusters, 1 - (1 - confidence) / 2)
    assert wider.low <= found.low
    assert found.high <= wider.high
    drawn = draw(values, "set", clusters=clusters, draws=99)
    assert drawn.figures.shape == (99,)
    assert ((drawn.figures >= 0) & (drawn.figures <= 1)).all()


@pytest.mark.parametrize(
    ("values", "clusters"),
    [(RIGHT, None), (RIGHT, Clusters(np.arange(300) // 30)), (PRECISION, None), (np.ones(9), None)],
)
@pytest.mark.parametrize("draws", [1, 2, 199, 1999])
def test_draws_are_the_ends_of_intervals(values: np.ndarray, clusters: Clusters | None, draws: int) -> None:
    drawn = draw(values, "set", clusters=clusters, draws=draws)
    ordered = np.sort(drawn.figures)
    for rank in {1, (draws + 1) // 4} - {0}:
        level = 2 * rank / (draws + 1)
        if level < 1:
            found = estimate(values, clusters, 1 - level)
            ends = min(found.value, ordered[rank - 1]), max(found.value, ordered[-rank])
            assert ends == pytest.approx((found.low, found.high), abs=1e-11)
    assert drawn.value == average(values)


def test_draws_of_one_name_are_in_one_order_and_of_two_names_independent() -> None:
    first, again, other = (draw(RIGHT, *name).figures for name in (("a", 0), ("a", 0), ("a", 1)))
    assert np.array_equal(first, again)
    assert np.array_equal(np.sort(first), np.sort(other))
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.08


def test_same_interval_on_any_machine() -> None:
    values = (np.arange(200) % 3 > 0).astype(np.float64)
    found = estimate(values)
    assert (found.low, found.high) == (0.59702191208, 0.726759130216)
    drawn = draw(values, "nights", 0, draws=5).figures.tolist()
    assert drawn == [0.650477509335, 0.696452829086, 0.679216656456, 0.665, 0.63201012117]


def test_gaps_are_left_out() -> None:
    gaps = RIGHT.copy()
    gaps[::7] = np.nan
    kept = ~np.isnan(gaps)
    labels = np.arange(300) // 20
    assert estimate(gaps, Clusters(labels)) == estimate(gaps[kept], Clusters(labels[kept]))
    # Both columns count alike, however many queries each has.
    assert average(np.array([[1.0, 0.0], [np.nan, 0.5], [np.nan, 1.0]])) == 0.75


@pytest.mark.parametrize(("share", "n"), [(1, 1), (1, 10), (1, 36), (0, 36)])
def test_values_that_are_all_equal_prove_little(share: int, n: int) -> None:
    """Six groups of six right answers say as much as six right answers."""
    alone = estimate(np.full(n, float(share)))
    grouped = estimate(np.full(6 * n, float(share)), Clusters(np.arange(6 * n) % n))
    assert grouped == alone
    assert alone.high - alone.low > 0.08
    assert share in (alone.low, alone.high)


def test_one_group_counts_as_one_trial() -> None:
    found = estimate(RIGHT, Clusters(np.zeros(300, dtype=int)))
    quantile = stats.norm.ppf(0.975)
    assert (found.low, found.high) == pytest.approx(not_rejected(RIGHT.mean(), 1, quantile), abs=1e-9)
    assert estimate_of_groups(np.array([RIGHT.sum()]), np.array([300])) == found


@pytest.mark.parametrize("labels", [[[0, 1]], [[0, 1], [0, 1]], [[0, 1], [0, 2], [0, 3]], [[0, 1], [2, 3]]])
def test_a_few_pairs_of_photos(labels: list[list[int]]) -> None:
    clusters = Clusters(np.array(labels))
    values = (np.arange(len(labels)) % 2).astype(np.float64)
    found = estimate(values, clusters)
    assert 0 <= found.low <= values.mean() <= found.high <= 1
    assert found.high - found.low > 0.6
    gain = draw_difference(values, np.ones(len(labels)), "set", clusters=clusters, draws=99).figures
    assert np.isfinite(gain).all() and np.ptp(gain) > 0.6


@pytest.mark.parametrize("grouped", [False, True])
def test_a_difference_is_that_of_paired_samples(grouped: bool) -> None:
    """A score test in [-1, 1], of the samples and two halves of one that only one model got right."""
    rng = np.random.default_rng(3)
    first = (rng.random(120) < 0.6).astype(np.float64)
    second = np.where(rng.random(120) < 0.2, 1.0, first)
    labels = np.arange(120) // 4 if grouped else np.arange(120)
    drawn = draw_difference(first, second, "set", clusters=Clusters(labels), draws=1999)
    gaps = second - first
    variance, plain = robust_variance(gaps, labels), gaps.var() / 120
    weight = variance / plain
    middle = gaps.sum() / (120 + weight)
    trials = (1 - middle**2) * (120 + weight) ** 2 / (120**2 * variance + weight**2)
    effective = 30 if grouped else 120
    degrees = (effective - 1) * (1 + 2 / np.abs(gaps).sum())
    expected = not_rejected(middle, trials, stats.t.ppf(0.975, degrees), -1.0)
    ordered = np.sort(drawn.figures)
    assert (ordered[49], ordered[-50]) == pytest.approx(expected, abs=1e-9)
    assert drawn.value == pytest.approx(gaps.mean())


@pytest.mark.parametrize("right", [[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
def test_swapped_models_have_the_turned_draws(right: list[float]) -> None:
    first, second = np.array(right), np.array([0.0, 1.0, 1.0, 0.0])
    there, back = draw_difference(first, second, "set"), draw_difference(second, first, "set")
    assert there.value == -back.value
    assert np.array_equal(there.figures, -back.figures)
    assert there.figures.any()


def test_models_that_agree_have_no_difference() -> None:
    assert not draw_difference(RIGHT, RIGHT, "set").figures.any()
    always = draw_difference(np.zeros(9), np.ones(9), "set", clusters=Clusters(np.zeros(9, dtype=int)))
    assert always.value == 1
    assert np.sort(always.figures)[49] < 0 < np.median(always.figures)


@pytest.mark.parametrize("groups", [4, 12])
def test_holds_the_truth_as_often_where_groups_are_few(groups: int) -> None:
    """Twenty samples a group, each group with a share of its own, 0.7 in the mean."""
    rng = np.random.default_rng(groups)
    clusters = Clusters(np.repeat(np.arange(groups), 20))
    held = []
    for _ in range(600):
        right = rng.random((groups, 20)) < rng.beta(2.8, 1.2, (groups, 1))
        found = estimate(right.ravel().astype(np.float64), clusters)
        held.append(found.low <= 0.7 <= found.high)
    assert 0.92 < np.mean(held) < 0.98


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_holds_the_truth_as_often_of_pairs_of_few_photos(effect: float) -> None:
    """Sixty pairs of 24 photos that make their pairs easier or harder, or do not."""
    rng = np.random.default_rng(int(effect))
    held = []
    for _ in range(800):
        first = rng.integers(24, size=60)
        photos = np.stack([first, (first + rng.integers(1, 24, 60)) % 24], axis=1)
        ease = rng.normal(0, effect, 24)[photos].sum(axis=1)
        middle = stats.norm.ppf(0.7) * math.sqrt(1 + 2 * effect**2)
        right = (rng.normal(middle + ease) > 0).astype(np.float64)
        found = estimate(right, Clusters(photos))
        held.append(found.low <= 0.7 <= found.high)
    assert 0.92 < np.mean(held) < 0.99


def test_scipy_is_loaded_only_for_an_interval() -> None:
    code = (
        "import sys, numpy as np; from unisim_metrics.statistics.confidence import average, estimate;"
        "average(np.array([0.0, 1.0])); assert not {'scipy', 'torch'} & set(sys.modules);"
        "estimate(np.array([0.0, 1.0])); assert 'scipy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_arguments() -> None:
    for values in (np.array([]), np.array([np.nan]), np.array([[1.0, np.nan]]), np.ones((2, 2, 2))):
        with pytest.raises(ValueError, match=r"`values` must be of shape \[n\]"):
            estimate(values)
    with pytest.raises(ValueError, match="`draws` must be at least 1, but got 0"):
        draw(RIGHT, "set", draws=0)
    with pytest.raises(ValueError, match="`confidence` must lie between 0 and 1, but got 95"):
        estimate(RIGHT, confidence=95)
    with pytest.raises(ValueError, match="of one shape with NaN in the same places"):
        draw_difference(RIGHT, PRECISION, "set")
    with pytest.raises(ValueError, match="`clusters` must be of 300 samples, but got 3"):
        estimate(RIGHT, Clusters.independent(3))
    for totals, sizes in (
        ([], []),
        ([1.0], [0]),
        ([3.0], [2]),
        ([-1.0], [2]),
        ([math.nan], [2]),
        ([1.0], [1, 2]),
    ):
        with pytest.raises(ValueError, match="0 <= total <= size"):
            estimate_of_groups(np.array(totals), np.array(sizes))
