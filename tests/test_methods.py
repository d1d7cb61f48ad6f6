"""In which way quality and attributes count: chosen on the other half of the samples, against plain loops."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from answers import all_sets, answered, write_answers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from unisim_metrics.benchmark import compare, summarize
from unisim_metrics.benchmark.results.files import SetResult
from unisim_metrics.benchmark.results.methods import (
    MethodChoice,
    choose_methods,
    in_second_half,
    sample_values,
)
from unisim_metrics.cli import app
from unisim_metrics.statistics.stream import Stream

WAYS = ("naive", "clip-iqa")
NAN = np.nan


def both(naive: NDArray[np.bool_], clip_iqa: NDArray[np.bool_]) -> dict[str | None, NDArray[np.bool_]]:
    return {"naive": naive, "clip-iqa": clip_iqa}


def of(naive: int, clip_iqa: int, n: int = 10) -> dict[str | None, NDArray[np.bool_]]:
    return both(np.arange(n) < naive, np.arange(n) < clip_iqa)


def by_loops(results: Mapping[str, SetResult]) -> dict[str, list[float]]:
    """Each sample of sets without gaps, counted in the way with the better mean over the sets' other halves."""
    values = {}
    for name, result in results.items():
        values[name] = []
        for index in range(result.n):
            side = in_second_half(result)[index]
            figures = []
            for way in WAYS:
                means = []
                for other in results.values():
                    right = other.outcome(way).choices == other.labels
                    means.append(right[in_second_half(other) != side].mean())
                figures.append(np.mean(means))
            way = WAYS[int(np.argmax(figures))]
            values[name].append(float(result.outcome(way).choices[index] == result.labels[index]))
    return values


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(2, 9), min_size=1, max_size=3))
def test_each_sample_counts_once_in_a_way_chosen_on_others(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    names = ("kadid-10k", "pipal", "koniq-10k")
    results = {
        name: answered(name, both(rng.random(n) < 0.6, rng.random(n) < 0.6))
        for name, n in zip(names, sizes, strict=False)
    }
    expected, methods = by_loops(results), choose_methods(results)
    assert {name: sample_values(each, methods).tolist() for name, each in results.items()} == expected
    found = summarize(results, draws=9)
    assert {name: each.value for name, each in found.datasets.items()} == pytest.approx(
        {name: np.mean(each) for name, each in expected.items()}
    )


def test_the_choice_does_not_see_what_it_scores() -> None:
    """A change of one half's answers leaves the way in which that half counts."""
    rng = np.random.default_rng(0)
    ways = both(rng.random(200) < 0.7, rng.random(200) < 0.7)
    plain = choose_methods({"pipal": answered("pipal", ways)})["iqa"]
    second = in_second_half(answered("pipal", ways))
    turned = both(*(np.where(second, ~right, right) for right in ways.values()))
    assert choose_methods({"pipal": answered("pipal", turned)})["iqa"].second == plain.second


def test_two_ways_that_are_chance_are_not_flattered() -> None:
    """Both ways guess. The paper's choice finds more than a half in each model, this one a half on average."""
    rng = np.random.default_rng(1)
    gains = {True: [], False: []}
    for _ in range(300):
        results = {"pipal": answered("pipal", both(rng.random(60) < 0.5, rng.random(60) < 0.5))}
        for paper, found in gains.items():
            found.append(summarize(results, paper_choice=paper, draws=1).datasets["pipal"].value - 0.5)
    error = np.std(gains[False]) / np.sqrt(300)
    assert abs(np.mean(gains[False])) < 3 * error
    # The larger of two independent binomials: 1/sqrt(pi) of their deviation above their mean.
    assert np.mean(gains[True]) == pytest.approx(0.5 / np.sqrt(60 * np.pi), abs=3 * error)


@pytest.mark.parametrize("n", [2, 3, 10, 401])
def test_halves_of_independent_samples(n: int) -> None:
    half = in_second_half(answered("pipal", np.ones(n)))
    assert half.sum() in (n // 2, (n + 1) // 2)
    assert not np.array_equal(half, in_second_half(answered("pipal", np.ones(n), seed=1))) or n < 10
    order = Stream("methods", "pipal", 0).permutation(n, "halves")
    assert not half[order[: n // 2]].any()
    assert half[order[(n + 1) // 2 :]].all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_groups_stay_whole_and_no_half_is_empty(groups: list[int]) -> None:
    labels = np.array(groups, dtype=np.uint32)
    half = in_second_half(answered("pipal", np.ones(len(groups)), clusters=(labels,)))
    assert all(len(set(half[labels == group])) == 1 for group in groups)
    assert set(half) == ({False, True} if len(set(groups)) > 1 else {True})


def test_samples_stay_with_the_first_of_two_labels() -> None:
    rng = np.random.default_rng(2)
    pairs = np.array([rng.choice(30, 2, replace=False) for _ in range(200)], dtype=np.uint32)
    half = in_second_half(answered("koniq-10k", np.ones(200), clusters=tuple(pairs.T)))
    assert all(len(set(half[pairs[:, 0] == photo])) <= 1 for photo in range(30))
    assert 60 < half.sum() < 140


def test_paper_takes_the_better_way_of_the_task_not_of_the_set() -> None:
    results = {
        "kadid-10k": answered("kadid-10k", of(9, 2)),
        "koniq-10k": answered("koniq-10k", of(5, 6)),
        "koniq-contrast": answered("koniq-contrast", of(3, 4)),
    }
    naive, clip_iqa = MethodChoice("naive", "naive"), MethodChoice("clip-iqa", "clip-iqa")
    assert choose_methods(results, paper_choice=True) == {"iqa": naive, "paa": clip_iqa}
    assert summarize(results, paper_choice=True, draws=9).datasets["koniq-10k"].value == 0.5
    # One's own sets follow; they do not vote.
    own = answered("mine", of(0, 10), kind="quality")
    for paper in (True, False):
        assert choose_methods(results | {"mine": own}, paper_choice=paper)["iqa"] == naive
        assert choose_methods({"mine": own}, paper_choice=paper) == {"iqa": clip_iqa}
        generative = answered("kadid-10k", np.ones(4))
        assert choose_methods({"kadid-10k": generative}, paper_choice=paper) == {
            "iqa": MethodChoice(None, None)
        }
        with pytest.raises(ValueError, match="task 'iqa' were not answered in one same way"):
            choose_methods(results | {"kadid-10k": generative}, paper_choice=paper)


def test_without_other_samples_the_first_way_counts() -> None:
    one = {"pipal": answered("pipal", of(0, 1, 1))}
    assert choose_methods(one)["iqa"] == MethodChoice("naive", "naive")
    assert summarize(one, draws=9).datasets["pipal"].value == 0
    assert summarize(one, paper_choice=True, draws=9).datasets["pipal"].value == 1
    group = {"pipal": answered("pipal", of(0, 10), clusters=(np.zeros(10, dtype=np.uint32),))}
    assert choose_methods(group)["iqa"].title == "naive"
    # Another half whose samples have no choice decides nothing either.
    second = in_second_half(answered("pipal", np.ones(10)))
    lost = np.where(second, NAN, 1.0)
    part = {"pipal": answered("pipal", {"naive": lost * 0, "clip-iqa": lost})}
    assert choose_methods(part)["iqa"] == MethodChoice("naive", "clip-iqa")
    assert choose_methods(part)["iqa"].title == "naive / clip-iqa"


def test_all_that_prints_follows() -> None:
    results = all_sets(5)
    for paper in (True, False):
        methods = choose_methods(results, paper_choice=paper)
        figures = {name: np.nanmean(sample_values(each, methods)) for name, each in results.items()}
        found = summarize(results, paper_choice=paper, draws=9)
        assert {name: each.value for name, each in found.datasets.items()} == pytest.approx(figures)
        assert set(found.methods) == {"iqa", "paa"}
        pair = compare({"a": results, "b": all_sets(6)}, paper_choice=paper, draws=9)
        assert {row.name: row.baseline for row in pair.rows if row.level == "set"} == pytest.approx(figures)


def test_option_of_the_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    models = {
        name: {"pipal": answered("pipal", both(rng.random(80) < 0.6, rng.random(80) < 0.6))} for name in "ab"
    }
    for name, results in models.items():
        write_answers(tmp_path, name, list(results.values()))
    shown = {}
    for options in ([], ["--paper-choice"]):
        arguments = ["bench", "compare", "a", "b", "--results", str(tmp_path), "--json", *options]
        printed = json.loads(CliRunner().invoke(app, arguments).stdout)
        expected = compare(models, paper_choice=bool(options))
        assert printed["paper_choice"] == bool(options)
        assert [row["figure"] for row in printed["results"]] == [row.figure for row in expected.rows]
        shown[len(options)] = printed["results"]
    assert shown[0] != shown[1]
