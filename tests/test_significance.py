"""Paired tests against closed forms, published examples and all permutations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from unisim_metrics.statistics.bootstrap import percentiles
from unisim_metrics.statistics.confidence import draw_difference
from unisim_metrics.statistics.significance import draws_p, holm, mcnemar_p

PROBABILITIES = st.lists(st.floats(0, 1), max_size=12)


def discordant(gained: int, lost: int, agreed: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = [0] * gained + [1] * lost + [1] * agreed
    second = [1] * gained + [0] * lost + [1] * agreed
    return np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)


def binomial_tails(gained: int, lost: int) -> float:
    """Twice the smaller tail of a fair coin."""
    n = gained + lost
    tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 3))
def test_mcnemar_is_a_fair_coin(gained: int, lost: int, agreed: int) -> None:
    first, second = discordant(gained, lost, agreed)
    assert mcnemar_p(first, second) == pytest.approx(binomial_tails(gained, lost), rel=1e-9)
    assert mcnemar_p(second, first) == mcnemar_p(first, second)


def test_mcnemar_of_a_textbook() -> None:
    # Agresti, Categorical Data Analysis (2002), Table 10.1: approval of the prime minister, 86 and 150 changed. His
    # z is -4.17, whose normal tails are 3.0e-5; the exact ones are a little heavier.
    p = mcnemar_p(*discordant(150, 86, agreed=1364))
    assert p == pytest.approx(binomial_tails(150, 86), rel=1e-9)
    assert 3.0e-5 < p < 4.5e-5


def test_mcnemar_is_a_permutation_test() -> None:
    """Had the models' names been swapped at random on each sample, how often would they differ as much?"""
    first = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 0], dtype=np.float64)
    second = np.array([1, 0, 1, 1, 1, 1, 1, 0, 1, 1], dtype=np.float64)
    gaps = second - first
    sums = [abs(np.dot(signs, gaps)) for signs in itertools.product((-1, 1), repeat=len(gaps))]
    assert mcnemar_p(first, second) == pytest.approx(np.mean([total >= abs(gaps.sum()) for total in sums]))


def test_mcnemar_leaves_out_what_one_model_did_not_judge() -> None:
    first, second = discordant(7, 1)
    gap = np.full(3, np.nan)
    expected = mcnemar_p(first, second)
    assert mcnemar_p(np.r_[first, gap], np.r_[second, 1.0, 0.0, np.nan]) == expected
    with pytest.raises(ValueError, match=r"one shape \[n\], but got \[13\] and \[12\]"):
        mcnemar_p(first, second[:-1])


def sign_flips(differences: NDArray[np.float64], count: int = 4000) -> float:
    """The p-value of a paired permutation test of the mean."""
    signs = np.random.default_rng(0).choice([-1, 1], size=(count, len(differences)))
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12))


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.04, -0.06])
def test_the_score_test_agrees_with_permutations(shift: float) -> None:
    rng = np.random.default_rng(3)
    first = rng.random(70) * 0.8 + 0.1
    second = np.clip(first + shift + rng.normal(0, 0.15, 70), 0, 1)
    gain = draw_difference(first, second, "roxford", draws=4999)
    assert draws_p(gain.figures) == pytest.approx(sign_flips(second - first), abs=0.03)


def test_the_score_test_errs_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    found = []
    for number in range(400):
        right = rng.random((2, 100)) < 0.7
        gain = draw_difference(*right.astype(np.float64), "null", number, draws=199)
        found.append(draws_p(gain.figures))
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.08
    assert 0.4 < np.mean(np.array(found) <= 0.5) < 0.6


@given(st.integers(0, 10_000), st.floats(-0.5, 0.5))
def test_significant_just_where_the_interval_leaves_out_zero(seed: int, shift: float) -> None:
    differences = np.random.default_rng(seed).normal(shift, 0.2, 999)
    interval = percentiles(float(differences.mean()), differences)
    assert (draws_p(differences) <= 0.05) == (interval.low > 0 or interval.high < 0)
    assert draws_p(-differences) == draws_p(differences)


def test_p_is_never_0() -> None:
    assert draws_p(np.full(1999, 0.3)) == 2 / 2000
    # The difference of models that agree everywhere is nothing but rounding.
    assert draws_p(np.full(1999, 1e-17)) == draws_p(np.zeros(1999)) == 1
    assert draws_p(np.r_[np.full(99, 0.1), np.nan]) == 2 / 100
    with pytest.raises(ValueError, match="at least one difference"):
        draws_p(np.array([np.nan]))


def test_holm_of_a_worked_example() -> None:
    # p1..p4 and their correction as they are worked out by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, then no less.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(PROBABILITIES)
def test_holm_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(
        p <= after <= min(1.0, len(p_values) * p) for p, after in zip(p_values, corrected, strict=True)
    )
    by_size = sorted(zip(p_values, corrected, strict=True))
    assert [after for _, after in by_size] == sorted(corrected)
    backwards = holm(p_values[::-1])
    assert backwards[::-1] == corrected


@given(PROBABILITIES, st.floats(0.01, 0.2))
def test_holm_rejects_as_its_steps_do(p_values: list[float], level: float) -> None:
    """The procedure as Holm stated it: from the smallest on, stop at the first that is too large."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    rejected = set()
    for rank, index in enumerate(order):
        if p_values[index] * (len(p_values) - rank) > level:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="from 0 to 1, but got"):
        holm([0.5, 1.5])
    with pytest.raises(ValueError, match="from 0 to 1, but got"):
        holm([float("nan")])
