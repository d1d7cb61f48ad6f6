"""Models side by side: every number by another way, and `unisim bench compare`."""

from __future__ import annotations

import csv
import io
import json
import os
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from answers import HASH, all_sets, answered, write_answers
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from typer.testing import CliRunner

from unisim_metrics.benchmark import compare, find_models, summarize
from unisim_metrics.benchmark.results.comparison import Comparison, Difference
from unisim_metrics.benchmark.results.files import SetResult
from unisim_metrics.cli import app
from unisim_metrics.statistics.significance import holm

NAN = np.nan


def row(comparison: Comparison, name: str, model: str | None = None) -> Difference:
    (found,) = (each for each in comparison.rows if each.name == name and model in (None, each.model))
    return found


def test_figures_and_tests_are_those_of_the_samples() -> None:
    first, second = all_sets(0, 0.6), all_sets(1, 0.8)
    found = compare({"a": first, "b": second}, draws=1999)
    figures = [summarize(results, draws=9) for results in (first, second)]
    levels = {"set": "datasets", "task": "tasks", "group": "groups"}
    assert len(found.rows) == 25 + 7 + 2 + 1
    for each in found.rows:
        a, b = (
            summary.overall if each.level == "overall" else getattr(summary, levels[each.level])[each.name]
            for summary in figures
        )
        assert a is not None
        assert b is not None
        assert (each.baseline, each.figure) == (a.value, b.value)
        assert each.difference.value == pytest.approx(b.value - a.value)
        assert each.difference.low <= each.difference.value <= each.difference.high
    nights = row(found, "nights")
    a, b = ((results["nights"].outcomes[0].choices == first["nights"].labels) for results in (first, second))
    gained, lost = int(np.sum(b & ~a)), int(np.sum(a & ~b))
    assert nights.p == pytest.approx(binomtest(lost, gained + lost).pvalue)
    assert (nights.test, nights.n) == ("mcnemar", 60)
    assert (row(found, "roxford").test, row(found, "ir").n) == ("score", 40)
    assert row(found, "core").n == 16 * 60
    assert [each.corrected for each in found.rows] == holm([each.p for each in found.rows])
    assert found.is_significant(row(found, "core"))
    assert not found.is_significant(row(found, "ir"))


def test_intervals_are_paired() -> None:
    """Models that err on the same samples differ surely, however unsure each figure is."""
    rng = np.random.default_rng(0)
    right = (rng.random(300) < 0.6).astype(np.float64)
    better = right.copy()
    better[np.flatnonzero(right == 0)[:15]] = 1
    alone = (rng.random(300) < right.mean()).astype(np.float64)
    models = {
        name: {"nights": answered("nights", values)}
        for name, values in (("a", right), ("b", better), ("c", alone))
    }
    found = compare(models, draws=1999)
    paired, other = (row(found, "nights", name).difference for name in "bc")
    spread = 1.96 * np.sqrt(0.05 * 0.95 / 300)
    assert (paired.low, paired.high) == pytest.approx((0.05 - spread, 0.05 + spread), abs=0.006)
    assert other.high - other.low > 2.5 * (paired.high - paired.low)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_swapping_two_models_turns_the_sign(seed: int) -> None:
    first, second = all_sets(seed, n=20), all_sets(seed + 1, n=20)
    there = compare({"a": first, "b": second}, draws=99)
    back = compare({"a": first, "b": second}, "b", draws=99)
    assert (there.baseline, back.baseline) == ("a", "b")
    for one, other in zip(there.rows, back.rows, strict=True):
        assert (one.level, one.name, one.n, one.p) == (other.level, other.name, other.n, other.p)
        assert one.corrected == other.corrected
        assert (one.baseline, one.figure) == (other.figure, other.baseline)
        assert one.difference.value == -other.difference.value
        assert (one.difference.low, one.difference.high) == (-other.difference.high, -other.difference.low)


def test_order_of_the_models_does_not_matter() -> None:
    models = {name: all_sets(seed) for seed, name in enumerate("abc")}
    found = [
        {(each.model, each.name): each for each in compare(dict(order), "b", draws=99).rows}
        for order in permutations(models.items())
    ]
    assert all(rows == found[0] for rows in found)


def test_model_does_not_differ_from_itself() -> None:
    results = all_sets(5) | {"own": answered("own", np.ones(8), kind="image-image")}
    for each in compare({"a": results, "b": results}, draws=99).rows:
        assert (each.difference.value, each.difference.low, each.difference.high) == (0, 0, 0)
        assert (each.p, each.corrected) == (1, 1)


def test_other_samples_are_left_out_with_a_note() -> None:
    first = all_sets(0)
    second = all_sets(1) | {"nights": answered("nights", np.ones(60), samples_hash="cd" * 32)}
    del second["roxford"]
    found = compare({"a": first, "b": second}, draws=1999)
    names = {each.name for each in found.rows}
    assert not names & {"nights", "img-2afc", "core", "roxford", "ir", "ood", "all"}
    assert {"bapps", "rparis", "iqa", "paa"} <= names
    assert found.notes[:2] == (
        f"nights is left out: a and b judged different samples, SHA-256 {HASH[:16]}… and {'cd' * 8}….",
        "roxford is left out: b has no result.",
    )
    with pytest.raises(ValueError, match=r"must have samples in common. nights is left out: a and b judged"):
        compare({"a": {"nights": first["nights"]}, "b": {"nights": second["nights"]}})


def test_samples_that_one_model_could_not_judge_are_left_out() -> None:
    a = np.array([1, 0, 1, NAN, 1, NAN, 0, 1])
    b = np.array([1, 1, NAN, 0, 1, NAN, 1, 1])
    precision = np.random.default_rng(0).random((6, 2))
    precision[0, 1] = NAN  # nothing to find: no loss
    lost = precision.copy()
    lost[1] = NAN
    models = {
        "a": {"nights": answered("nights", a), "roxford": answered("roxford", precision)},
        "b": {"nights": answered("nights", b), "roxford": answered("roxford", lost)},
    }
    found = compare(models)
    nights, roxford = row(found, "nights"), row(found, "roxford")
    assert (nights.n, nights.baseline, nights.figure, nights.p) == (5, 0.6, 1.0, 0.5)
    assert (roxford.n, roxford.baseline, roxford.difference.value) == (5, roxford.figure, 0)
    assert found.notes == (
        "nights: 3 of 8 samples are left out, not judged by both a and b.",
        "roxford: 1 of 6 samples are left out, not judged by both a and b.",
    )
    nothing = {"nights": answered("nights", np.where(np.isnan(a), 1.0, NAN))}
    with pytest.raises(ValueError, match="8 of 8 samples are left out"):
        compare({"a": {"nights": models["a"]["nights"]}, "b": nothing})


def test_result_of_an_earlier_version_takes_the_groups_of_the_other() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.random((2, 40)) < [[0.5], [0.8]]).astype(np.float64)
    groups = ((np.arange(40) // 4).astype(np.uint32),)

    def compared(*clusters: tuple[np.ndarray, ...] | None) -> Comparison:
        models = zip("ab", (a, b), clusters, strict=True)
        return compare(
            {name: {"nights": answered("nights", right, clusters=of)} for name, right, of in models}
        )

    both, either, neither = compared(groups, groups), compared(None, groups), compared(None, None)
    assert either.rows == both.rows
    assert row(both, "nights").test == "score"
    assert neither.rows == compared((), ()).rows
    assert row(neither, "nights").test == "mcnemar"
    assert both.notes == ()
    for found in (either, neither):
        (note,) = found.notes
        assert note.startswith(
            "nights: a result of an earlier version does not say which samples hang together."
        )


def test_too_few_draws_are_told() -> None:
    models = {"a": all_sets(0, 0.5), "b": all_sets(1, 0.9)}
    note = "999 draws are too few to tell how significant averages are among 35 rows: take at least 1399."
    assert compare(models, draws=999).notes[-1] == note
    assert not any("too few" in each for each in compare(models, draws=1399).notes)


def test_each_model_is_asked_in_its_better_way() -> None:
    ways = np.arange(10) < 9, np.arange(10) < 4
    models = {
        "a": {"pipal": answered("pipal", {"naive": ways[0], "clip-iqa": ways[1]})},
        "b": {"pipal": answered("pipal", {"naive": ways[1], "clip-iqa": ways[0]})},
        "c": {"pipal": answered("pipal", ways[0])},
    }
    found = compare(models, draws=99)
    assert [each.difference.value for each in found.rows] == [0, 0]
    assert found.notes == (
        "iqa: a is asked by naive, b by clip-iqa, each in the way that was better for it.",
    )


def test_bad_arguments() -> None:
    models = {"a": all_sets(0), "b": all_sets(1)}
    with pytest.raises(ValueError, match=r"at least two models, but got \['a'\]"):
        compare({"a": models["a"]})
    with pytest.raises(ValueError, match=r"`baseline` must be one of \['a', 'b'\], but got 'c'"):
        compare(models, "c")
    with pytest.raises(ValueError, match="`confidence` must lie between"):
        compare(models, confidence=95)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    for seed, (name, weights) in enumerate((("org/a", "1"), ("b", "2"), ("b", "3"))):
        sets = ["nights", "bapps", "pieapp-2afc", "roxford"][: 4 - seed]
        models = all_sets(seed, 0.5 + 0.2 * seed)
        write_answers(root, name, [models[each] for each in sets], weights * 64)
    return root


def test_models_are_found_by_folder_name_and_revision(results: Path) -> None:
    folder = results / "org__a" / ("1" * 12)
    revision = f"b@{'2' * 12}"
    for reference in ("org/a", "org/a@111", str(folder), str(folder.parent), os.path.relpath(folder)):
        (found,) = find_models([reference], results)
        assert found == "org/a"
    by_name = find_models(["b@2", "org/a", "b@333"], results)
    assert list(by_name) == [revision, "org/a", f"b@{'3' * 12}"]
    assert list(by_name["org/a"]) == ["bapps", "nights", "pieapp-2afc", "roxford"]
    with pytest.raises(ValueError, match=rf"'b' has results of several revisions: name one, {revision}, b@3"):
        find_models(["b"], results)
    with pytest.raises(ValueError, match=r"\['org/a', 'org/a@1'\] are the same"):
        find_models(["org/a", "b@2", "org/a@1"], results)
    with pytest.raises(ValueError, match=r"'org/c' is neither a folder.*'org/a@1{12}'.*Did you mean 'org/a'"):
        find_models(["org/c"], results)


def test_demonstrations_are_told_and_never_mixed(tmp_path: Path) -> None:
    def shown(number: int, *sets: str) -> dict[str, SetResult]:
        made = all_sets(number)
        return {name: made[name].model_copy(update={"demonstrations": number}) for name in sets}

    for number in (0, 1, 2):
        write_answers(tmp_path, "a", list(shown(number, "nights").values()), "1" * 64, number)
    write_answers(tmp_path, "b", list(shown(2, "nights").values()), "2" * 64, 2)
    revision = "1" * 12
    found = find_models(["a", "a@1", "b"][1:], tmp_path)
    assert list(found) == ["a", f"b@{'2' * 12}-demonstrations-2"]
    assert found["a"]["nights"].demonstrations == 0
    own = find_models(["a", f"a@{revision}-demonstrations-1", f"a@{revision}-demonstrations-2"], tmp_path)
    assert list(own) == [f"a@{revision}{end}" for end in ("", "-demonstrations-1", "-demonstrations-2")]
    notes = compare(own, draws=199).notes
    assert notes[:2] == (
        f"a@{revision} was shown no demonstrations, a@{revision}-demonstrations-1 was shown 1 before each sample.",
        f"a@{revision} was shown no demonstrations, a@{revision}-demonstrations-2 was shown 2 before each sample.",
    )
    mixed = shown(0, "nights") | shown(2, "bapps", "roxford")
    expected = r"after one number of demonstrations, but got 0 for \['nights'\], 2 for \['bapps', 'roxford'\]"
    with pytest.raises(ValueError, match=f"Model 'b': .*{expected}"):
        compare({"a": shown(0, "nights"), "b": mixed})
    with pytest.raises(ValueError, match=expected):
        summarize(mixed)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["bench", "compare", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_command_prints_every_form(results: Path) -> None:
    expected = compare(find_models(["org/a", "b@2"], results), draws=499)
    options = ("org/a", "b@2", "--results", results, "--draws", "499")
    content = json.loads(run(*options, "--format", "json"))
    assert (content["baseline"], content["confidence"], content["draws"]) == ("org/a", 0.95, 499)
    assert content["notes"] == ["roxford is left out: b has no result."]
    assert [(each["name"], each["figure"], each["p_holm"]) for each in content["results"]] == [
        (each.name, each.figure, each.corrected) for each in expected.rows
    ]
    assert [each["significant"] for each in content["results"]] == [
        expected.is_significant(each) for each in expected.rows
    ]
    rows = list(csv.DictReader(io.StringIO(run(*options, "--format", "csv"))))
    for each, values in zip(expected.rows, rows, strict=True):
        assert (values["baseline"], values["model"], values["level"]) == ("org/a", "b", each.level)
        assert float(values["low"]) == each.difference.low
    table = run(*options).splitlines()
    markdown = run(*options, "--format", "markdown").splitlines()
    assert table[0].strip() == "b beside org/a"
    assert markdown[0] == "**b beside org/a**"
    for each in expected.rows:
        name = "Img-2AFC, mean" if each.level == "task" else each.name
        (line,) = (line for line in table if line.strip().startswith(name))
        (cells,) = (line for line in markdown if line.startswith(f"| {name} |"))
        for text in (f"{each.figure:.4f}", f"{each.difference.value:+.4f} [{each.difference.low:+.4f}, "):
            assert text in line
            assert text in cells
        assert ("better" in line) == expected.is_significant(each) == ("better" in cells)


def test_command_takes_a_baseline(results: Path) -> None:
    found = run("org/a", "b@2", "b@3", "--baseline", "b@3", "--results", results, "--draws", "99")
    assert found.count(f" beside b@{'3' * 12}") == 2
    for arguments, message in (
        (("org/a", "b@2", "--baseline", "b"), "--baseline must be one of ['org/a', 'b@2'], but got 'b'"),
        (("org/a",), "at least two models"),
        (("org/a", "x"), "'x' is neither a folder"),
    ):
        result = CliRunner().invoke(app, ["bench", "compare", *arguments, "--results", str(results)])
        assert result.exit_code == 2
        assert message in result.stderr.replace("\n", " ")
