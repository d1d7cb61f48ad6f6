"""The figures of a model against plain averages in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from answers import all_sets, answered
from hypothesis import given, settings
from hypothesis import strategies as st

from unisim_metrics.benchmark import nafc_curve, summarize
from unisim_metrics.benchmark.results.methods import MethodChoice, sample_values
from unisim_metrics.benchmark.results.summary import (
    Figure,
    average_sets,
    draw_set,
)
from unisim_metrics.benchmark.tasks import TASKS
from unisim_metrics.statistics.confidence import estimate
from unisim_metrics.statistics.intervals import estimate_mean, estimate_share

CORE = ("img-2afc", "it-2afc", "text-2afc", "iqa")
OOD = ("paa", "ooo", "ir")
NAN = math.nan


def test_averages_are_plain_means() -> None:
    results = all_sets(0)
    found = summarize(results, paper_choice=True, draws=99)
    figures = {}
    for task in TASKS:
        by_method = [
            [result.outcome(method).figure for result in (results[name] for name in task.datasets)]
            for method in task.methods
        ]
        best = int(np.argmax(np.mean(by_method, axis=1)))
        figures |= dict(zip(task.datasets, by_method[best], strict=True))
        if len(task.methods) > 1:
            assert found.methods[task.id] == MethodChoice(task.methods[best], task.methods[best])
        assert found.tasks[task.id].value == pytest.approx(np.mean(by_method[best]))
    assert {name: each.value for name, each in found.datasets.items()} == pytest.approx(figures)
    assert list(found.datasets) == [name for task in TASKS for name in task.datasets]
    tasks = {name: each.value for name, each in found.tasks.items()}
    assert list(tasks) == [*CORE, *OOD]
    assert found.groups["core"].value == pytest.approx(np.mean([tasks[name] for name in CORE]))
    assert found.groups["ood"].value == pytest.approx(np.mean([tasks[name] for name in OOD]))
    assert found.overall is not None
    assert found.overall.value == pytest.approx(np.mean(list(tasks.values())))
    assert found.methods.keys() == {"iqa", "paa"}


def test_set_is_as_its_file_says() -> None:
    """The runner writes the same interval."""
    right = np.random.default_rng(0).random(80) < 0.7
    results = {"nights": answered("nights", right, seed=4)}
    assert summarize(results).datasets["nights"] == estimate(right.astype(np.float64))


def test_interval_of_an_average_is_that_of_independent_sets() -> None:
    rng = np.random.default_rng(1)
    shares, sizes = (0.9, 0.6, 0.75), (100, 400, 200)
    names = TASKS[0].datasets
    results = {
        name: answered(name, rng.random(n) < share)
        for name, share, n in zip(names, shares, sizes, strict=True)
    }
    found = summarize(results).tasks["img-2afc"]
    # In closed form, by the squares of distances (MOVER).
    figures = [results[name].outcomes[0].figure for name in names]
    expected = estimate_mean([estimate_share(round(p * n), n) for p, n in zip(figures, sizes, strict=True)])
    spread = math.sqrt(sum(p * (1 - p) / n for p, n in zip(figures, sizes, strict=True))) / 3
    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * spread)


def test_average_without_a_part_is_none() -> None:
    results = all_sets(2)
    del results["bapps"]
    found = summarize(results, draws=99)
    assert "img-2afc" not in found.tasks
    assert found.groups.keys() == {"ood"}
    assert found.overall is None
    assert len(found.datasets) == 24
    assert summarize({}) == summarize({}, draws=7)


def test_sample_without_a_choice_is_left_out() -> None:
    right = np.array([1, 1, 0, NAN, 1, NAN])
    result = answered("nights", right)
    assert np.array_equal(
        sample_values(result, {"img-2afc": MethodChoice(None, None)}), right, equal_nan=True
    )
    assert summarize({"nights": result}).datasets["nights"].value == 0.75
    with pytest.raises(ValueError, match="'nights' has no sample with a choice"):
        summarize(
            {"nights": result.model_copy(update={"outcomes": answered("nights", right * NAN).outcomes})}
        )


def test_retrieval_is_the_mean_of_both_protocols() -> None:
    precision = np.array([[0.5, 0.1], [0.7, NAN], [NAN, 0.4], [0.9, 0.7]])
    found = summarize({"roxford": answered("roxford", precision)}).datasets["roxford"]
    assert found.value == pytest.approx((0.7 + 0.4) / 2)
    assert found.low < found.value < found.high


def test_own_sets_come_last_and_are_in_no_average() -> None:
    results = all_sets(3)
    with_own = results | {"a-mine": answered("a-mine", np.zeros(9), kind="image-image")}
    found, expected = summarize(with_own, draws=99), summarize(results, draws=99)
    assert list(found.datasets)[-1] == "a-mine"
    assert (found.tasks, found.groups, found.overall) == (expected.tasks, expected.groups, expected.overall)


def test_order_of_the_files_does_not_matter() -> None:
    results = all_sets(4)
    assert summarize(dict(reversed(results.items())), draws=99) == summarize(results, draws=99)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 100))
def test_mean_of_figures(values: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    figures = [Figure(value, rng.random(99), n) for n, value in enumerate(values)]
    mean = Figure.mean(figures)
    assert mean.value == pytest.approx(np.mean(values))
    expected = np.mean([figure.drawn for figure in figures], axis=0)
    pulled = expected.mean() - np.mean(values)
    assert mean.drawn == pytest.approx(np.clip(expected - pulled * (1 - 1 / len(values)) / 2, 0, 1))
    assert mean.n == sum(range(len(values)))


def test_rows_are_in_the_order_of_the_paper() -> None:
    figures = {name: draw_set(name, 0, np.ones(3), 9) for name in ("rparis", "bapps", "own", "roxford")}
    assert list(average_sets(figures)) == [
        ("set", "bapps"),
        ("set", "roxford"),
        ("set", "rparis"),
        ("task", "ir"),
        ("set", "own"),
    ]


def test_curve_over_the_number_of_alternatives() -> None:
    rng = np.random.default_rng(5)
    results = {
        name: answered(name, rng.random(50) < share, kind="image-text")
        for name, share in (("hpdv2-nafc-8", 0.4), ("hpdv2", 0.9), ("hpdv2-nafc-3", 0.7), ("nights", 0.5))
    }
    curve = nafc_curve(results, draws=99)
    assert list(curve) == [2, 3, 8]
    assert [point.value for point in curve.values()] == [
        results[name].outcomes[0].figure for name in ("hpdv2", "hpdv2-nafc-3", "hpdv2-nafc-8")
    ]
    assert all(point.low < point.value < point.high for point in curve.values())
    results["hpdv2-nafc-2"] = answered("hpdv2-nafc-2", np.ones(50), kind="image-text")
    assert nafc_curve(results, draws=99)[2].value == 1
    assert nafc_curve({}) == {}


def test_same_summary_on_any_machine() -> None:
    results = {name: answered(name, np.arange(90) % 4 > 0) for name in TASKS[0].datasets}
    found = summarize(results).tasks["img-2afc"]
    assert (found.low, found.value, found.high) == pytest.approx(
        (0.688889271918, 67 / 90, 0.791368139869), abs=1e-11
    )
    # In closed form, as above.
    expected = estimate_mean([estimate_share(67, 90)] * 3)
    spread = math.sqrt(67 / 90 * 23 / 90 / 90 / 3)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * spread)
