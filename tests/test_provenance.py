"""Where samples are from: told at running time, kept apart in reports, averages and comparisons."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import benchmark_data
import numpy as np
import pytest
from answers import all_sets, answered, write_answers
from benchmark_runs import timeless, write_distinct_sets
from hypothesis import given
from hypothesis import strategies as st
from report_results import OTHERS, SETS
from typer.testing import CliRunner

from unisim_metrics.benchmark import compare, load_dataset, run, summarize, write_report
from unisim_metrics.benchmark.demo import write_demo
from unisim_metrics.benchmark.errors import BenchmarkError
from unisim_metrics.benchmark.provenance import Provenance, mark_as_demo
from unisim_metrics.benchmark.results.files import read_result, read_results
from unisim_metrics.benchmark.running.planning import plan_set
from unisim_metrics.benchmark.tasks import TASKS
from unisim_metrics.cli import app
from unisim_metrics.models import EncoderModel


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some sets, which tests must not change."""
    return write_distinct_sets(tmp_path_factory.mktemp("root"))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the embeddings of tests out of the user's cache."""
    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "unisim-cache"))


# Told by the data and the options.


def write_hpdv2(root: Path, prompts: int) -> None:
    """HPDv2 with so many prompts of nine images: no image is there, none is needed to list samples."""
    records = [
        {
            "prompt": f"p{number}",
            "image_path": [f"{number}_{place}.jpg" for place in range(9)],
            "rank": [*range(1, 10)],
        }
        for number in range(prompts)
    ]
    benchmark_data.write_json(root / "hpdv2" / "test.json", records)


@pytest.mark.parametrize(
    ("prompts", "n", "count", "provenance"),
    [
        (200, None, 5000, "paper"),
        (200, 5000, 5000, "paper"),
        (200, 6000, 6000, "paper"),
        (200, 4999, 4999, "subset"),
        (200, 1, 1, "subset"),
        (1, None, 36, "paper"),
        (1, 36, 36, "subset"),
        (1, 50, 36, "paper"),
    ],
)
@pytest.mark.filterwarnings("ignore:Dataset 'hpdv2' has 36")
def test_a_number_that_cuts_makes_a_subset(
    tmp_path: Path, prompts: int, n: int | None, count: int, provenance: str
) -> None:
    write_hpdv2(tmp_path, prompts)
    planned = plan_set(load_dataset("hpdv2", tmp_path), n=n)
    assert (planned.n, planned.provenance) == (count, provenance)


@pytest.mark.parametrize("name", ["koniq-10k", "koniq-sharpness", "agiqa-3k-quality", "nights", "roxford"])
def test_a_set_that_is_known_to_be_larger_is_a_subset_whoever_cut_it(root: Path, name: str) -> None:
    assert plan_set(load_dataset(name, root)).provenance == "subset"


def test_training_samples_are_the_papers_unless_cut(root: Path) -> None:
    dataset = load_dataset("nights", root)
    assert plan_set(dataset, "train").provenance == "paper"
    assert plan_set(dataset, "train", n=3).provenance == "subset"


def test_files_of_ones_own_are_own(root: Path, tmp_path: Path) -> None:
    line = {
        "task": "quality",
        "reference": None,
        "alternatives": [{"image": "a.png"}, {"image": "b.png"}],
        "label": 0,
    }
    own = tmp_path / "mine.jsonl"
    own.write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert plan_set(load_dataset(own, root)).provenance == "own"


def test_every_set_of_the_demo_is_marked(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("pyarrow")
    data = write_demo(tmp_path)
    for name in SETS:
        assert plan_set(load_dataset(name, data), n=1).provenance == "demo", name
    assert plan_set(load_dataset("hpdv2-nafc-8", data)).provenance == "demo"
    # A folder that is copied takes its mark along; real data beside it stay real.
    write_hpdv2(tmp_path / "real", 1)
    (data / "nights").rename(tmp_path / "real" / "nights")
    assert plan_set(load_dataset("nights", tmp_path / "real")).provenance == "demo"
    assert plan_set(load_dataset("hpdv2", tmp_path / "real")).provenance == "paper"


# Written down.


def test_results_say_it_and_older_ones_learn_it_without_work(
    root: Path, tmp_path: Path, exact: EncoderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(exact, "nights", root, n=6, results=tmp_path)
    path = next(tmp_path.glob("*/*/nights.json"))
    assert read_result(path).provenance == "subset"
    new = timeless(tmp_path)

    content = json.loads(path.read_text(encoding="utf-8"))
    del content["provenance"], content["truncated_texts"]
    path.write_text(json.dumps(content), encoding="utf-8")
    ((_, results),) = read_results(tmp_path)
    assert results["nights"].provenance is None

    def refuse(*arguments: object) -> None:
        raise AssertionError("nothing is encoded anew")

    monkeypatch.setattr(exact, "embed_images", refuse)
    for overwrite in ("read-only", "never"):
        assert (
            run(exact, "nights", root, n=6, results=tmp_path, overwrite=overwrite)["nights"].provenance
            == "subset"
        )  # type: ignore[arg-type]
        assert read_result(path).provenance is None
    assert run(exact, "nights", root, n=6, results=tmp_path)["nights"].provenance == "subset"
    assert timeless(tmp_path).keys() == new.keys()
    assert read_result(path).provenance == "subset"


@pytest.mark.filterwarnings("ignore:Dataset 'hpdv2'")
def test_a_try_does_not_replace_the_result_of_the_whole_set(
    root: Path, tmp_path: Path, exact: EncoderModel
) -> None:
    whole = run(exact, "hpdv2", root, results=tmp_path, cache=False)["hpdv2"]
    assert whole.provenance == "paper"
    with pytest.raises(
        BenchmarkError, match=r"hpdv2\.json is of the paper's set, whole, .*by a part of the paper's set"
    ):
        run(exact, "hpdv2", root, results=tmp_path, cache=False, n=5)
    assert read_result(next(tmp_path.glob("*/*/hpdv2.json"))).n == whole.n
    run(exact, "hpdv2", root, results=tmp_path, cache=False, n=5, overwrite="always")
    assert read_result(next(tmp_path.glob("*/*/hpdv2.json"))).n == 5
    # The whole set replaces the part without being asked.
    run(exact, "hpdv2", root, results=tmp_path, cache=False)
    assert read_result(next(tmp_path.glob("*/*/hpdv2.json"))).n == whole.n


def test_sets_without_their_images_are_named(root: Path, tmp_path: Path, exact: EncoderModel) -> None:
    benchmark_data.write_json(tmp_path / "hpdv2" / "test.json", [])
    with pytest.raises(
        FileNotFoundError, match=r"None of the benchmark's sets is in .*Incomplete: hpdv2\. .*data status"
    ):
        run(exact, None, tmp_path)


def test_one_number_for_sets_of_all_sizes(root: Path, tmp_path: Path, exact: EncoderModel) -> None:
    """The smaller ones give what they have, and that is told."""
    with pytest.warns(UserWarning, match=r"Dataset 'nights' has 10 test samples, not 50: all were taken"):
        found = run(exact, ["nights", "koniq-10k"], root, n=50, cache=False)
    assert {name: result.n for name, result in found.items()} == {"nights": 10, "koniq-10k": 50}
    assert found["nights"].samples_hash == run(exact, "nights", root, cache=False)["nights"].samples_hash


@pytest.mark.parametrize("n", [1, 2, 3])
def test_sets_of_a_few_samples_run_through_to_the_report(
    root: Path, tmp_path: Path, exact: EncoderModel, n: int
) -> None:
    run(
        exact,
        ["nights", "koniq-10k", "imagenet-ooo"][:2],
        root,
        n=n,
        results=tmp_path / "results",
        cache=False,
    )
    write_report(tmp_path / "report", [tmp_path / "results"])
    text = (tmp_path / "report/other_samples.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    assert [(line["dataset"], line["samples"], line["n"]) for line in lines] == [
        ("nights", "subset", str(n)),
        ("koniq-10k", "subset", str(n)),
    ]


def test_no_samples_at_all_are_a_clear_error(root: Path, tmp_path: Path, exact: EncoderModel) -> None:
    done = CliRunner().invoke(app, ["bench", "run", "unisim-mini", "--root", str(root), "--n", "0"])
    assert done.exit_code == 2
    assert "greater than or equal to 1" in " ".join(done.output.split()).replace("│ ", "")
    write_hpdv2(tmp_path, 0)
    (tmp_path / "hpdv2" / "test").mkdir()
    with pytest.raises(ValueError, match=r"no test sample|at least one"):
        run(exact, "hpdv2", tmp_path)


# Averages.


@given(st.lists(st.sampled_from([None, "paper", "subset", "demo"]), min_size=25, max_size=25))
def test_stand_ins_are_in_no_average_with_others(kinds: Sequence[Provenance | None]) -> None:
    base = all_sets(0)
    results = {
        name: result.model_copy(update={"provenance": kind})
        for (name, result), kind in zip(base.items(), kinds, strict=True)
    }
    summary = summarize(results, draws=3)
    assert set(summary.datasets) == set(results)
    for task in TASKS:
        stand_ins = {results[name].provenance == "demo" for name in task.datasets}
        assert (task.id in summary.tasks) == (len(stand_ins) == 1)


# Comparisons.


@pytest.mark.parametrize("provenance", OTHERS)
def test_comparisons_tell_of_other_samples(provenance: Provenance | None) -> None:
    values = np.arange(20) % 2
    models = {
        name: {
            "nights": answered("nights", values, provenance=provenance),
            "bapps": answered("bapps", values),
        }
        for name in "ab"
    }
    found = compare(models, draws=1999)
    assert {row.name: row.samples for row in found.rows} == {
        "nights": provenance or "unknown",
        "bapps": "paper",
    }
    (note,) = found.notes
    assert note.startswith("The samples of nights are ")
    assert ("nobody judged" in note) == (provenance == "demo")


def test_the_demos_samples_are_not_compared_with_the_papers() -> None:
    values = np.arange(20) % 2
    models = {
        "a": {"nights": answered("nights", values, provenance="demo"), "bapps": answered("bapps", values)},
        "b": {"nights": answered("nights", values), "bapps": answered("bapps", values)},
    }
    found = compare(models, draws=1999)
    assert [row.name for row in found.rows] == ["bapps"]
    assert "nights is left out: a judged demo data, b the paper's set." in found.notes


def test_the_command_tells_it(tmp_path: Path) -> None:
    values = np.arange(20) % 2
    for name in "ab":
        write_answers(tmp_path, name, [answered("nights", values, provenance="demo")])
    options = ["bench", "compare", "a", "b", "--results", str(tmp_path), "--draws", "99"]
    done = CliRunner().invoke(app, [*options, "--format", "json"])
    content = json.loads(done.stdout)
    assert [row["samples"] for row in content["results"]] == ["demo"]
    assert any("nobody judged" in note for note in content["notes"])
    assert "nobody judged" in " ".join(CliRunner().invoke(app, options).output.split())


def test_marks_are_files_that_listings_pass_over(tmp_path: Path) -> None:
    benchmark_data.write_sice(tmp_path)
    before = load_dataset("sice-brightness", tmp_path).samples()
    mark_as_demo(tmp_path, ("sice/Dataset_Part1",))
    assert [path.name for path in (tmp_path / "sice").iterdir() if path.is_file()] == [".unisim-demo"]
    assert load_dataset("sice-brightness", tmp_path).samples() == before
