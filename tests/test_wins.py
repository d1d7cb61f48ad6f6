"""Shares of wins and strengths: against SciPy, by simulation, and at the edges."""

from __future__ import annotations

import math

import choix
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import binomtest, norm

from unisim_metrics.statistics.intervals import estimate_mean_share, estimate_share
from unisim_metrics.statistics.strengths import estimate_strengths
from unisim_metrics.statistics.wins import compare_wins, needed_trials, sign_test_p


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_the_sign_test_is_scipys(won: int, lost: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert sign_test_p(won, lost) == pytest.approx(expected, rel=1e-9, abs=1e-200)


@given(st.integers(0, 2000), st.integers(0, 2000), st.sampled_from([0.8, 0.95, 0.99]))
def test_without_ties_the_interval_is_wilsons(won: int, lost: int, confidence: float) -> None:
    if not won + lost:
        return
    share = compare_wins(won, lost, 0, confidence).share
    expected = estimate_share(won, won + lost, confidence)
    oracle = binomtest(won, won + lost).proportion_ci(confidence, "wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (share.low, share.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_the_interval_ends_where_the_score_statistic_is_critical(won: int, lost: int, ties: int) -> None:
    n = won + lost + ties
    if not n:
        return
    share = compare_wins(won, lost, ties).share
    assert 0 <= share.low <= share.value <= share.high <= 1
    swapped = compare_wins(lost, won, ties).share
    assert (swapped.low, swapped.high) == pytest.approx((1 - share.high, 1 - share.low), abs=1e-12)
    for end in (share.low, share.high):
        if 0 < end < 1 and end != share.value:
            variance = end * (1 - end) - ties / 4 / (n + 1)
            assert (share.value - end) ** 2 * n / variance == pytest.approx(norm.ppf(0.975) ** 2, rel=1e-6)


@pytest.mark.parametrize("n", [50, 400, 5000])
@pytest.mark.parametrize(("won", "tied"), [(0.5, 0.0), (0.6, 0.0), (0.75, 0.1), (0.35, 0.3), (0.85, 0.05)])
def test_intervals_hold_the_true_share(n: int, won: float, tied: float) -> None:
    draws, counts = np.unique(
        np.random.default_rng(n).multinomial(n, [won, 1 - won - tied, tied], 20_000),
        axis=0,
        return_counts=True,
    )
    truth = won + tied / 2
    found = [compare_wins(*map(int, draw)).share for draw in draws]
    held = np.array([share.low <= truth <= share.high for share in found])
    assert 0.93 <= held @ counts / counts.sum() <= 0.97


@pytest.mark.parametrize("n", [50, 400, 5000])
@pytest.mark.parametrize("tied", [0.0, 0.2, 0.6])
def test_equals_are_seldom_told_apart(n: int, tied: float) -> None:
    draws = np.random.default_rng(n).multinomial(n, [(1 - tied) / 2, (1 - tied) / 2, tied], 5000)
    assert np.mean([sign_test_p(int(won), int(lost)) <= 0.05 for won, lost, _ in draws]) <= 0.055


def test_needed_trials_have_the_power() -> None:
    n = needed_trials(0.6, 0.1)
    assert n is not None
    # One mean, tested by its spread under no difference; its power from SciPy's normal distribution.
    null, spread = math.sqrt(0.9 / 4), math.sqrt(0.6 * 0.4 - 0.1 / 4)
    powers = [norm.sf((norm.ppf(0.975) * null - 0.1 * math.sqrt(trials)) / spread) for trials in (n - 1, n)]
    assert powers[0] < 0.8 <= powers[1]
    assert needed_trials(0.5) is None
    assert compare_wins(60, 40).further > 0
    assert compare_wins(50, 50).further is None
    assert compare_wins(90, 10).further == 0


def test_only_ties_leave_room() -> None:
    found = compare_wins(0, 0, 50)
    assert found.p == 1
    assert found.share.low < found.share.value == 0.5 < found.share.high


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 2, 0), (1, 1, -1)])
def test_counts_that_are_none(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="counts of at least one trial"):
        compare_wins(*counts)
    with pytest.raises(ValueError, match="`confidence`"):
        compare_wins(1, 1, 0, 1.0)
    with pytest.raises(ValueError, match="`squares`"):
        estimate_mean_share(1, 2, 3)


def likeliest(wins: np.ndarray) -> np.ndarray:
    """Bradley-Terry strengths by a general minimiser."""

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        gaps = values[:, None] - values
        chances = 1 / (1 + np.exp(-gaps))
        return float((wins * np.logaddexp(0, -gaps)).sum()), ((wins + wins.T) * chances - wins).sum(axis=1)

    found = minimize(loss, np.zeros(len(wins)), jac=True, method="BFGS", options={"gtol": 1e-11}).x
    return found - found.mean()


def sums(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What strengths are estimated from, of groups of as many items each."""
    beaten = (scores[:, :, None] > scores[:, None]) + 0.5 * (scores[:, :, None] == scores[:, None])
    beaten *= ~np.eye(scores.shape[1], dtype=bool)
    totals = beaten.sum(axis=2)
    sizes, by_size = np.zeros(scores.shape[1]), np.zeros((scores.shape[1],) * 2)
    sizes[-1], by_size[-1] = len(scores), totals.sum(axis=0)
    return beaten.sum(axis=0), sizes, by_size, totals.T @ totals


def test_strengths_are_choixs() -> None:
    wins, *_ = sums(np.random.default_rng(1).normal(np.linspace(0, 1, 5), size=(50, 5)))
    data = [(i, j) for i in range(5) for j in range(5) for _ in range(int(wins[i, j]))]
    expected = choix.ilsr_pairwise(5, data, max_iter=1000, tol=1e-13)
    np.testing.assert_allclose(estimate_strengths(wins).values, expected - expected.mean(), atol=1e-9)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_strengths_are_the_likeliest(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=(80, n)) + np.linspace(0, 1, n)
    wins, *rest = sums(scores.round(1))
    found = estimate_strengths(wins, *rest)
    assert not found.regularised
    np.testing.assert_allclose(found.values, likeliest(wins), atol=1e-6)
    # The likeliest strengths give each item as many wins as it had.
    chances = 1 / (1 + np.exp(found.values - found.values[:, None]))
    np.testing.assert_allclose(((wins + wins.T) * chances).sum(axis=1), wins.sum(axis=1), atol=1e-9)


def test_the_sandwich_is_that_of_the_groups() -> None:
    scores = np.random.default_rng(0).normal(np.array([0, 0.2, 0.4, 0.9]), size=(60, 4))
    sizes = [4] * 40 + [3] * 20
    wins, totals_of = np.zeros((4, 4)), []
    by_size, counts = np.zeros((4, 4)), np.zeros(4)
    for row, size in zip(scores, sizes, strict=True):
        beaten = np.zeros((4, 4))
        beaten[:size, :size] = row[:size, None] > row[:size]
        wins += beaten
        totals_of.append(beaten.sum(axis=1))
        by_size[size - 1] += totals_of[-1]
        counts[size - 1] += 1
    totals = np.array(totals_of)
    found = estimate_strengths(wins, counts, by_size, totals.T @ totals)
    chances = 1 / (1 + np.exp(found.values - found.values[:, None]))
    np.fill_diagonal(chances, 0)
    gaps = np.array(
        [
            total - np.where(np.arange(4) < size, chances[:, :size].sum(axis=1), 0)
            for total, size in zip(totals, sizes, strict=True)
        ]
    )
    weights = (wins + wins.T) * chances * chances.T
    bread = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    errors = np.sqrt(np.diag(bread @ (gaps.T @ gaps * 60 / 59) @ bread))
    np.testing.assert_allclose(found.high - found.values, norm.ppf(0.975) * errors, rtol=1e-9)


@pytest.mark.parametrize(("n", "rounds"), [(50, 2000), (400, 1000), (5000, 400)])
def test_intervals_hold_the_true_strengths(n: int, rounds: int) -> None:
    # Gumbel noise makes the wins those of Bradley and Terry, and those of a group depend on each other.
    rng, truth = np.random.default_rng(n), np.array([-0.5, 0.0, 0.1, 0.4])
    held = []
    for _ in range(rounds):
        found = estimate_strengths(*sums(truth + rng.gumbel(size=(n, 4))))
        held.append((found.low <= truth) & (truth <= found.high))
    assert 0.93 <= np.mean(held) <= 0.97


def test_an_unbeaten_item_has_a_finite_strength() -> None:
    found = estimate_strengths(np.array([[0.0, 10, 10], [0, 0, 5], [0, 5, 0]]))
    assert found.regularised
    assert np.isfinite([found.low, found.values, found.high]).all()
    assert found.values[0] > found.values[1]
    assert found.values[1] == pytest.approx(found.values[2])


def test_wins_that_give_no_strengths() -> None:
    with pytest.raises(ValueError, match="never met"):
        estimate_strengths(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"\[N, N\]"):
        estimate_strengths(np.zeros((3, 2)))
