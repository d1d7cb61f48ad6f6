"""Kendall's tau between tasks, against SciPy's on each resample, and by how often its intervals hold the truth."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from unisim_metrics.benchmark.paper import PAPER_MODELS, PAPER_TABLES
from unisim_metrics.statistics.bootstrap import draws, percentiles
from unisim_metrics.statistics.correlation import correlate
from unisim_metrics.statistics.stream import Stream

CORE = ("img-2afc", "it-2afc", "text-2afc", "iqa")
NAN = math.nan
FIGURES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=9)


def table_of(x: object, y: object) -> dict[str, dict[str, float]]:
    return {f"model-{index:02}": {"x": a, "y": b} for index, (a, b) in enumerate(zip(x, y, strict=True))}


def pairs_tau(x: list[float], y: list[float]) -> float:
    """Tau-b by its definition."""
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    scale = math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs))
    return sum(a * b for a, b in signs) / scale if scale else NAN


@settings(max_examples=40, deadline=None)
@given(FIGURES)
def test_tau_is_that_of_its_definition(figures: list[tuple[int, int]]) -> None:
    x, y = zip(*figures, strict=True)
    found = correlate(table_of(x, y), resamples=99)
    assert found["x", "y"] is found["y", "x"]
    tau = found["x", "y"].tau
    assert tau.value == pytest.approx(pairs_tau(x, y), nan_ok=True)
    if not math.isnan(tau.value):
        assert -1 <= tau.low <= tau.value <= tau.high <= 1
        assert tau.high > tau.low
        opposite = correlate(table_of(x, [-b for b in y]), resamples=99)["x", "y"].tau
        assert (opposite.value, opposite.low) == pytest.approx((-tau.value, -tau.high))


def test_interval_is_that_of_resampled_models() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=11)
    y = np.round(x + rng.normal(size=11), 1)
    indices = np.concatenate(list(draws(11, 499, Stream("correlation"))), axis=1)
    expected = np.array([kendalltau(x[row], y[row]).statistic for row in indices.T])
    found = correlate(table_of(x, y), resamples=499)["x", "y"]
    tau, p = kendalltau(x, y)
    assert (found.tau.value, found.p, found.models) == (pytest.approx(tau), pytest.approx(p), 11)
    interval = percentiles(tau, expected)
    assert (found.tau.low, found.tau.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("models", "correlation"), [(10, 0.0), (16, 0.7)])
def test_holds_the_truth_as_often_as_it_says(models: int, correlation: float) -> None:
    rng = np.random.default_rng(models)
    covariance = [[1, correlation], [correlation, 1]]
    truth = 2 / math.pi * math.asin(correlation)
    found = [
        correlate(table_of(*rng.multivariate_normal([0, 0], covariance, size=models).T), resamples=199)
        for _ in range(120)
    ]
    covered = np.mean([each["x", "y"].tau.low <= truth <= each["x", "y"].tau.high for each in found])
    assert 0.9 < covered <= 1


def test_one_order_proves_little() -> None:
    found = correlate(table_of(range(5), range(5)))["x", "y"].tau
    # Two pairs of five models share none: 0.025 is the chance that both agree where a share of sqrt(0.025) would.
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(2 * math.sqrt(0.025) - 1)
    assert correlate(table_of(range(40), range(40)))["x", "y"].tau.low > 0.6
    opposite = correlate(table_of(range(5), range(0, -5, -1)))["x", "y"].tau
    assert (opposite.low, opposite.value, opposite.high) == (-1, -1, -found.low)


def test_missing_figures_are_left_out_pair_by_pair() -> None:
    rows = np.random.default_rng(1).random((8, 3))
    table = {f"m{index}": dict(zip("xyz", row, strict=True)) for index, row in enumerate(rows.tolist())}
    table["m0"]["y"] = NAN
    del table["m1"]["z"]
    found = correlate(table)
    assert [found[pair].models for pair in (("x", "y"), ("x", "z"), ("y", "z"))] == [7, 7, 6]
    assert found["y", "z"].tau.value == pytest.approx(kendalltau(rows[2:, 1], rows[2:, 2]).statistic)
    chosen = correlate(table, ["z", "x"])
    assert list(chosen) == [("z", "x"), ("x", "z")]
    # Nothing is said of two models, nor of a task that tells none apart.
    few = correlate({"a": {"x": 1, "y": 2}, "b": {"x": 2, "y": 3}})["x", "y"]
    flat = correlate(table_of([1, 1, 1, 1], [1, 2, 3, 4]))["x", "y"]
    for nothing in (few, flat):
        assert all(map(math.isnan, (nothing.tau.value, nothing.tau.low, nothing.tau.high, nothing.p)))
    assert (few.models, flat.models) == (2, 4)


def test_order_of_the_models_does_not_matter() -> None:
    rows = table_of(np.random.default_rng(2).random(9), np.random.default_rng(3).random(9))
    assert correlate(rows) == correlate(dict(reversed(rows.items())))


def test_same_interval_on_any_machine() -> None:
    tau = correlate(table_of([1, 2, 3, 4, 5, 6, 7], [2, 1, 4, 3, 7, 5, 6]))["x", "y"].tau
    assert (tau.low, tau.value, tau.high) == pytest.approx((1 / 11, 13 / 21, 1))


def test_figure_3_of_the_paper() -> None:
    """General-purpose models order the core tasks alike on average; specialized ones do not."""
    figures = {
        model: {**PAPER_TABLES[6].figures[model], **PAPER_TABLES[8].figures.get(model, {})}
        for model in PAPER_TABLES[6].figures
    }
    means = {}
    for group in ("general-purpose", "specialized"):
        table = {id: row for id, row in figures.items() if PAPER_MODELS[id].group == group}
        found = correlate(table, CORE, resamples=99)
        means[group] = np.mean([found[pair].tau.value for pair in combinations(CORE, 2)])
        for pair in combinations(CORE, 2):
            x, y = (np.array([row.get(task, NAN) for row in table.values()]) for task in pair)
            known = ~np.isnan(x + y)
            assert found[pair].tau.value == pytest.approx(pairs_tau(x[known], y[known]))
    assert means["general-purpose"] > 0.3
    assert means["specialized"] < 0


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        correlate({})
    with pytest.raises(ValueError, match="`resamples` must be at least 1"):
        correlate(table_of([1, 2], [1, 2]), resamples=0)
    with pytest.raises(ValueError, match="`confidence` must lie between"):
        correlate(table_of([1, 2], [1, 2]), confidence=1.0)
