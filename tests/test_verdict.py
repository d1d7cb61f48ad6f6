"""Which of several is better: against SciPy, statsmodels and choix, by simulation, and at the edges."""

from __future__ import annotations

import math
from itertools import combinations, product

import choix
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, rankdata, t, ttest_rel
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import estimate
from unisim_metrics.statistics.differences import detectable_mean, estimate_mean_difference
from unisim_metrics.statistics.strengths import estimate_clustered_strengths, estimate_strengths
from unisim_metrics.statistics.verdict import Verdict, judge
from unisim_metrics.statistics.wins import (
    cluster_sign_test_p,
    compare_clustered_wins,
    compare_wins,
    detectable_share,
    needed_trials,
)


def drawn(n: int, count: int, seed: int = 0, digits: int = 3) -> np.ndarray:
    """Scores of competitors that are better the later they come."""
    return np.random.default_rng(seed).normal(np.linspace(0, 0.8, count), size=(n, count)).round(digits)


def beaten(scores: np.ndarray) -> np.ndarray:
    return (scores[:, :, None] > scores[:, None]) + 0.5 * (scores[:, :, None] == scores[:, None])


def by_cluster(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([beaten(scores)[labels == label].sum(axis=0) for label in np.unique(labels)])


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_the_sign_test_over_clusters_is_the_share_of_exchanges(margins: list[int]) -> None:
    seen = abs(sum(margins))
    exchanged = [
        abs(sum(sign * margin for sign, margin in zip(signs, margins, strict=True)))
        for signs in product((-1, 1), repeat=len(margins))
    ]
    expected = np.mean(np.array(exchanged) >= seen)
    assert cluster_sign_test_p(np.array(margins, dtype=np.int64)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("clusters", "largest"), [(1, 1), (2, 5), (60, 3), (900, 2)])
def test_the_sign_test_over_many_clusters_is_the_exact_one(clusters: int, largest: int) -> None:
    """All exchanges, counted in whole numbers."""
    rng = np.random.default_rng(clusters)
    for _ in range(4):
        margins = rng.integers(-largest, largest + 1, clusters)
        ways = {0: 1}
        for margin in margins.tolist():
            further: dict[int, int] = {}
            for total, number in ways.items():
                for end in (total - margin, total + margin):
                    further[end] = further.get(end, 0) + number
            ways = further
        far = sum(number for total, number in ways.items() if abs(total) >= abs(margins.sum()))
        assert cluster_sign_test_p(margins) == pytest.approx(far / 2**clusters, abs=1e-12)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_with_one_trial_a_cluster_it_is_the_sign_test(won: int, lost: int) -> None:
    margins = np.repeat(np.array([1, -1, 0]), [won, lost, 5])
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert cluster_sign_test_p(margins) == pytest.approx(expected, rel=1e-9, abs=1e-200)


def test_wins_of_trials_that_share_nothing_are_those_of_counts() -> None:
    values = np.repeat([1.0, 0.5, 0.0], [40, 7, 25])
    assert compare_clustered_wins(values, Clusters.independent(72)) == compare_wins(40, 25, 7)


def test_wins_of_trials_that_hang_together() -> None:
    rng = np.random.default_rng(0)
    clusters = Clusters(np.repeat(np.arange(40), 5))
    values = (np.repeat(rng.normal(0.4, 1, 40), 5) + rng.normal(0, 0.6, 200) > 0).astype(float)
    found = compare_clustered_wins(values, clusters)
    assert found.share == estimate(values, clusters)
    assert found.p == cluster_sign_test_p(clusters.totals(2 * values - 1).astype(np.int64))
    assert found.p > compare_wins(int(values.sum()), int(200 - values.sum())).p
    totals = clusters.totals(values - values.mean())
    effect = (totals**2).sum() * 40 / 39 / (values.var() * 200)
    assert found.design_effect == pytest.approx(effect, rel=1e-9)
    assert 1 < effect < 5


def test_needed_and_detectable_are_inverse() -> None:
    for trials, ties, confidence in product((20, 400, 5000), (0.0, 0.3), (0.9, 0.95)):
        share = detectable_share(trials, ties, confidence)
        assert share is not None
        assert needed_trials(share + 1e-9, ties, confidence) == trials
        assert needed_trials(share - 1e-9, ties, confidence) == trials + 1
    assert detectable_share(2) is None
    assert detectable_share(3) is None


@pytest.mark.parametrize("n", [2, 3, 50, 1000])
def test_the_mean_difference_is_scipys(n: int) -> None:
    first, second = drawn(n, 2, seed=n).T
    found = estimate_mean_difference(second - first, confidence=0.9)
    oracle = ttest_rel(second, first)
    low, high = oracle.confidence_interval(0.9)
    assert (found.mean.value, found.p) == pytest.approx(((second - first).mean(), oracle.pvalue), abs=1e-9)
    assert (found.mean.low, found.mean.high) == pytest.approx((low, high), abs=1e-9)


def test_the_mean_difference_of_clusters_is_that_of_statsmodels() -> None:
    labels = np.repeat(np.arange(12), 4)
    values = np.random.default_rng(3).normal(0.2, 1, 48) + np.random.default_rng(4).normal(0, 1, 12)[labels]
    found = estimate_mean_difference(values, Clusters(labels))
    fit = sm.OLS(values, np.ones(48)).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    assert found.p == pytest.approx(fit.pvalues[0], abs=1e-9)
    assert (found.mean.low, found.mean.high) == pytest.approx(tuple(fit.conf_int()[0]), abs=1e-9)


def test_differences_that_do_not_vary() -> None:
    assert estimate_mean_difference(np.zeros(5)).p == 1
    same = estimate_mean_difference(np.full(4, 0.25))
    assert (same.mean.low, same.mean.value, same.mean.high, same.p) == (0.25, 0.25, 0.25, 0)
    for lonely in (
        estimate_mean_difference(np.array([0.3])),
        estimate_mean_difference(np.ones(3), Clusters(np.zeros(3, dtype=int))),
    ):
        assert math.isnan(lonely.mean.low) and math.isnan(lonely.mean.high) and lonely.p == 1


@pytest.mark.parametrize(("n", "level", "power"), [(10, 0.05, 0.8), (64, 0.0125, 0.8), (1000, 0.05, 0.95)])
def test_the_detectable_mean_has_the_power_that_it_promises(n: int, level: float, power: float) -> None:
    values = np.random.default_rng(n).normal(0.1, 2, n)
    effect = detectable_mean(values, level=level, power=power) / values.std(ddof=1)
    exact = TTestPower().power(effect, n, level, alternative="larger")
    assert exact == pytest.approx(power, abs=0.015)
    groups = Clusters(np.repeat(np.arange(n), 3))
    # Three copies of each tell no more.
    assert detectable_mean(values.repeat(3), groups, level, power) == pytest.approx(
        effect * values.std(ddof=1)
    )


def test_what_no_mean_can_be_detected_by() -> None:
    assert math.isnan(detectable_mean(np.ones(3), Clusters(np.zeros(3, dtype=int))))
    assert detectable_mean(np.zeros(3)) == 0
    for settings in ({"level": 0.0}, {"power": 1.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(settings))}` must lie between 0 and 1"):
            detectable_mean(np.ones(3), **settings)
    with pytest.raises(ValueError, match="`differences`"):
        detectable_mean(np.zeros(0))


def test_strengths_of_groups_that_share_nothing_are_those_of_sums() -> None:
    wins = beaten(drawn(80, 4, digits=1))
    totals = (wins * ~np.eye(4, dtype=bool)).sum(axis=2)
    by_size = np.zeros((4, 4))
    by_size[3] = totals.sum(axis=0)
    sums = wins.sum(axis=0) * ~np.eye(4, dtype=bool)
    expected = estimate_strengths(sums, np.array([0.0, 0, 0, 80]), by_size, totals.T @ totals)
    found = estimate_clustered_strengths(wins, np.ones(80))
    for name in ("values", "low", "high"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-9)


def test_the_sandwich_of_strengths_is_over_clusters() -> None:
    labels = np.repeat(np.arange(30), 3)
    scores = drawn(90, 3) + np.random.default_rng(5).normal(size=(30, 3))[labels]
    found = estimate_clustered_strengths(by_cluster(scores, labels), np.full(30, 3))
    wins = beaten(scores).sum(axis=0) * ~np.eye(3, dtype=bool)
    data = [(i, j) for i in range(3) for j in range(3) for _ in range(int(wins[i, j]))]
    expected = choix.ilsr_pairwise(3, data, max_iter=1000, tol=1e-13)
    np.testing.assert_allclose(found.values, expected - expected.mean(), atol=1e-9)
    chances = 1 / (1 + np.exp(found.values - found.values[:, None])) * ~np.eye(3, dtype=bool)
    gaps = beaten(scores).sum(axis=2) - 0.5 - chances.sum(axis=1)
    sums = np.stack([gaps[labels == label].sum(axis=0) for label in range(30)])
    weights = (wins + wins.T) * chances * chances.T
    bread = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    errors = np.sqrt(np.diag(bread @ (sums.T @ sums * 30 / 29) @ bread))
    np.testing.assert_allclose(found.high - found.values, t.ppf(0.975, 29) * errors, rtol=1e-9)


def test_a_strength_without_end_counts_a_cluster_once() -> None:
    scores = np.tile([0.0, 1.0, 2.0], (12, 1))
    alone = estimate_clustered_strengths(beaten(scores), np.ones(12))
    shared = estimate_clustered_strengths(by_cluster(scores, np.arange(12) // 4), np.full(3, 4))
    assert alone.regularised and shared.regularised
    np.testing.assert_allclose(shared.high - shared.values, 2 * (alone.high - alone.values))


@pytest.mark.parametrize(("n", "count"), [(1, 2), (2, 2), (30, 2), (40, 3), (25, 6)])
@pytest.mark.parametrize("digits", [0, 3])
def test_a_verdict_is_its_parts(n: int, count: int, digits: int) -> None:
    scores = drawn(n, count, digits=digits)
    verdict = judge(scores, confidence=0.9)
    assert (verdict.trials, verdict.clusters) == (n, n)
    assert sorted(standing.index for standing in verdict.standings) == list(range(count))
    ranks = rankdata(-scores, axis=1)
    firsts = scores == scores.max(axis=1, keepdims=True)
    for standing in verdict.standings:
        i = standing.index
        assert standing.mean_rank == pytest.approx(ranks[:, i].mean())
        assert standing.mean_score == pytest.approx(scores[:, i].mean())
        assert standing.win_rate.value == pytest.approx(
            (firsts / firsts.sum(axis=1, keepdims=True))[:, i].mean()
        )
        assert standing.win_rate.low <= standing.win_rate.value <= standing.win_rate.high
        assert (standing.strength is None) == (count == 2)
    order = [standing.index for standing in verdict.standings]
    assert [{duel.first, duel.second} for duel in verdict.duels] == [
        set(pair) for pair in combinations(order, 2)
    ]
    p_values, means = [], []
    for duel in verdict.duels:
        first, second = scores[:, duel.first], scores[:, duel.second]
        won, lost = int((first > second).sum()), int((first < second).sum())
        assert duel.share.value >= 0.5
        assert duel.share == compare_wins(won, lost, n - won - lost, 0.9).share
        assert duel.difference.value == pytest.approx((first - second).mean())
        p_values.append(binomtest(won, won + lost).pvalue if won + lost else 1.0)
        means.append(duel.difference_p)
    for name, raw in (("corrected", p_values), ("difference_corrected", means)):
        corrected = multipletests(raw, method="holm")[1]
        assert [getattr(duel, name) for duel in verdict.duels] == pytest.approx(list(corrected), abs=1e-9)
    assert [duel.is_settled for duel in verdict.duels] == [duel.corrected <= 0.1 for duel in verdict.duels]


def test_what_is_open_is_counted_at_the_level_that_holm_leaves() -> None:
    # The first is far better; the other two are too close to tell.
    scores = np.column_stack([np.full(100, 9.0), np.repeat([1.0, 0.0], [54, 46]), np.full(100, 0.5)])
    verdict = judge(scores)
    assert [duel.is_settled for duel in verdict.duels] == [True, True, False]
    assert verdict.duels[2].further == compare_wins(54, 46).further
    two = np.column_stack(
        [np.repeat([1.0, 0.0], [54, 46]), np.full(100, 0.5), np.repeat([1.0, 0.0], [53, 47])]
    )
    opened = judge(two).duels
    assert not any(duel.is_settled for duel in opened)
    for duel in opened:
        share, ties = duel.share.value, duel.ties / 100
        deviations = math.sqrt((1 - ties) / 4), math.sqrt(share * (1 - share) - ties / 4)
        needed = (norm.ppf([1 - 0.05 / 6, 0.8]) @ deviations / (share - 0.5)) ** 2
        assert duel.further == math.ceil(needed) - 100


def turned(verdict: Verdict, order: list[int]) -> list[tuple[float, ...]]:
    found = sorted(verdict.standings, key=lambda standing: order[standing.index])
    return [
        (
            each.win_rate.low,
            each.win_rate.high,
            each.mean_rank,
            *((each.strength.low,) if each.strength else ()),
        )
        for each in found
    ]


@given(st.permutations(range(4)), st.booleans())
def test_the_order_of_the_competitors_decides_nothing(order: list[int], shared: bool) -> None:
    scores = drawn(30, 4)
    labels = [index // 3 for index in range(30)] if shared else None
    straight, mixed = judge(scores, labels), judge(scores[:, order], labels)
    np.testing.assert_allclose(turned(straight, [0, 1, 2, 3]), turned(mixed, order), atol=1e-9)
    pairs = {(duel.first, duel.second): duel.corrected for duel in straight.duels}
    for duel in mixed.duels:
        assert duel.corrected == pytest.approx(pairs[order[duel.first], order[duel.second]], abs=1e-9)


def test_prompts_that_share_a_text_tell_less() -> None:
    scores = np.repeat(drawn(12, 3, seed=2), 10, axis=0)
    alone, shared = judge(scores), judge(scores, [index // 10 for index in range(120)])
    assert shared.clusters == 12
    for found, naive in zip(shared.duels, alone.duels, strict=True):
        assert (found.first, found.second, found.share.value) == (
            naive.first,
            naive.second,
            naive.share.value,
        )
        assert found.p > naive.p
        assert found.share.high - found.share.low > 1.5 * (naive.share.high - naive.share.low)
    for found, naive in zip(shared.standings, alone.standings, strict=True):
        assert found.win_rate.value == pytest.approx(naive.win_rate.value)
        assert found.strength.high - found.strength.low > 2 * (naive.strength.high - naive.strength.low)


def test_one_text_alone_proves_nothing() -> None:
    verdict = judge(np.tile([1.0, 0.0, 0.5], (50, 1)), ["a"] * 50)
    assert verdict.clusters == 1
    assert not any(duel.is_settled for duel in verdict.duels)
    assert all(duel.p == 1 and math.isnan(duel.difference.low) for duel in verdict.duels)
    assert all(np.isfinite([each.strength.low, each.strength.high]).all() for each in verdict.standings)


def test_equals_have_no_difference_to_be_seen() -> None:
    [duel] = judge(np.ones((20, 2))).duels
    assert (duel.share.value, duel.p, duel.ties, duel.further) == (0.5, 1.0, 20, None)
    assert (duel.first, duel.second) == (0, 1)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((0, 2)), r"\[trials, N\]"),
        (np.zeros((4, 1)), r"\[trials, N\]"),
        (np.zeros(4), r"\[trials, N\]"),
        (np.array([[1.0, np.nan]]), "1 that are not"),
    ],
)
def test_scores_that_are_none(scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(scores)


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="`labels` must hold 3 labels, but got 2"):
        judge(np.zeros((3, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="`confidence`"):
        judge(np.zeros((3, 2)), confidence=1.0)
    with pytest.raises(ValueError, match="`sizes` must hold 3 numbers of at least 1, but got"):
        estimate_clustered_strengths(np.zeros((3, 3, 3)), np.ones(2))
    with pytest.raises(ValueError, match="`clusters` must be of 3 differences"):
        estimate_mean_difference(np.zeros(3), Clusters.independent(2))
    with pytest.raises(ValueError, match="`differences`"):
        estimate_mean_difference(np.zeros(0))
