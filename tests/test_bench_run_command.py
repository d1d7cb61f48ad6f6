"""`unisim bench run`, and the command that counts what it encodes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import benchmark_data
import numpy as np
import pytest
from answers import answered
from benchmark_runs import draw, timeless, write_distinct_sets
from torch import distributed
from two_processes import run_in_two, set_launcher_environment
from typer.testing import CliRunner, Result

from docs.experiments.speed.benchmark import Effort, count, main, measure, plan_all
from unisim_metrics.benchmark.results.files import read_results
from unisim_metrics.cli.app import app
from unisim_metrics.cli.bench.run import figures_of
from unisim_metrics.models import EncoderModel


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some sets, which tests must not change."""
    return write_distinct_sets(tmp_path_factory.mktemp("root"))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the embeddings of tests out of the user's cache."""
    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "unisim-cache"))


def bench_run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "run", *map(str, arguments)])


def test_it_prints_figures_and_writes_files(root: Path, tmp_path: Path, tiny_clip_dir: Path) -> None:
    own = tmp_path / "mine.jsonl"
    own.write_text(
        '{"task": "caption", "reference": {"image": "nights/ref/000/002.png"},'
        ' "alternatives": [{"text": "a dog"}, {"text": "a cat"}, {"text": "red"}], "label": 2}\n'
    )
    options = ("--root", root, "--results", tmp_path / "results", "--n", 1, "--seed", 4, "--workers", 1)
    done = bench_run(tiny_clip_dir, *options, "--task", "ir", "-d", "nights", "-d", own)
    assert done.exit_code == 0, done.output
    for row in (r"Img-2AFC +nights", r"Text-2AFC +mine", r"IR +roxford", r"IR +rparis", r"IR +mean"):
        assert re.search(row + r" +[01]\.\d{4} +[01]\.\d{4} +[01]\.\d{4} +\d+ +0", done.output), row
    [(meta, found)] = read_results(tmp_path / "results")
    assert meta.name == "tiny-clip" and sorted(found) == ["mine", "nights", "roxford", "rparis"]
    assert {result.seed for result in found.values()} == {4}
    assert any((tmp_path / "unisim-cache" / "embeddings").glob("*/*.safetensors"))

    before = timeless(tmp_path / "results")
    again = bench_run(tiny_clip_dir, *options, "-d", "nights", "--overwrite", "always", "--no-cache")
    assert again.exit_code == 0 and timeless(tmp_path / "results") == before


@pytest.mark.filterwarnings("ignore:Dataset 'nights'")
def test_cut_texts_are_counted_beside_each_figure() -> None:
    results = {
        name: answered(name, np.ones(4)).model_copy(update={"truncated_texts": count})
        for name, count in (("cd-coco", 3), ("polaris", None), ("hq-edit-captions", 4))
    }
    assert [row["texts_cut"] for row in figures_of(results)] == [3, 0, 4, 7]
    del results["cd-coco"], results["hq-edit-captions"]
    assert all("texts_cut" not in row for row in figures_of(results))


def test_a_set_without_a_figure_ends_with_status_1(tmp_path: Path, tiny_clip_dir: Path) -> None:
    benchmark_data.write_nights(tmp_path)
    benchmark_data.write_hpdv2(tmp_path)
    reference = draw("nights", tmp_path)[0].reference
    assert isinstance(reference, Path)
    reference.unlink()
    options = ("--root", tmp_path, "--results", tmp_path / "results", "--no-cache")
    done = bench_run(tiny_clip_dir, *options, "-d", "nights", "-d", "hpdv2")
    assert done.exit_code == 1
    assert "nights: 1 of 10 samples have no choice" in done.output and "hpdv2" in done.output
    assert bench_run(tiny_clip_dir, *options, "-d", "nights", "--max-lost", 0.1).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("-d", "night"), 2, "Did you mean 'nights'"),
        (("--task", "iq"), 2, "Argument `task` must be one of"),
        (("-d", "bapps"), 1, "Dataset 'bapps' is missing"),
        (("-d", "nights", "--split", "other"), 2, "Argument `split` must be one of"),
        (("-d", "nights", "--demonstrations", 1), 2, "which has no `with_demonstrations`"),
    ],
)
def test_wrong_requests_are_told_in_a_line(
    root: Path, tiny_clip_dir: Path, arguments: tuple[object, ...], status: int, message: str
) -> None:
    done = bench_run(tiny_clip_dir, "--root", root, *arguments)
    assert done.exit_code == status
    assert message in " ".join(done.output.split())


def run_in_a_process(rank: int, port: int, arguments: list[str], output: str) -> None:
    """The command in one of two processes under the environment that torchrun sets."""
    set_launcher_environment(rank, port)
    done = bench_run(*arguments)
    (Path(output) / f"{rank}.txt").write_text(f"{done.exit_code}\n{done.stdout}")
    distributed.destroy_process_group()


def test_of_two_processes_one_tells(root: Path, tmp_path: Path, tiny_clip_dir: Path) -> None:
    options = [tiny_clip_dir, "--root", root, "-d", "nights", "--no-cache", "--results"]
    run_in_two(run_in_a_process, list(map(str, [*options, tmp_path / "two"])), str(tmp_path))
    first, second = ((tmp_path / f"{rank}.txt").read_text() for rank in range(2))
    assert first.startswith("0\n") and first.count("Img-2AFC") == 1
    assert second == "0\n"
    alone = bench_run(*options, tmp_path / "one")
    assert alone.exit_code == 0 and timeless(tmp_path / "two") == timeless(tmp_path / "one")
    assert first == f"0\n{alone.stdout}"


def test_effort_counts_occurrences_and_unique_items(root: Path) -> None:
    plans, failures = plan_all(root)
    assert "bapps" in failures and "nights" not in failures
    efforts = {effort.name: effort for effort in count(plans)}
    koniq = {item for sample in draw("koniq-10k", root) for item in sample.alternatives}
    bright = {item for sample in draw("koniq-brightness", root) for item in sample.alternatives}
    n = len(draw("koniq-10k", root))
    assert efforts["koniq-10k"] == Effort("koniq-10k", 2 * 2 * n, len(koniq), 3, 3, 2)
    assert efforts["koniq-brightness"].unique_images == len(bright - koniq)
    prompts = {sample.reference for sample in draw("hpdv2", root)}
    assert efforts["hpdv2"].texts == len(draw("hpdv2", root)) > efforts["hpdv2"].unique_texts == len(prompts)
    assert efforts["nights"].images == 3 * len(draw("nights", root)) and efforts["nights"].loads == 1
    assert efforts["roxford"].images == efforts["roxford"].unique_images == 23
    total = Effort.total(list(efforts.values()))
    assert total.unique_images == len({key for planned in plans for key in planned.images})


def test_effort_needs_annotations_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark_data.write_agiqa(tmp_path)
    for path in (tmp_path / "agiqa-3k" / "images").iterdir():
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["effort", "--root", str(tmp_path)])
    main()
    printed = capsys.readouterr().out
    assert re.search(r"\| agiqa-3k-quality \| 240 \| \d+ \| 0\.\d{3} \| 3 \| 3 \| 1\.000 \|", printed)
    assert "Not counted: nights." in printed and "instead of 3 times" in printed


def test_effort_times_the_runner_beside_the_encoder(
    root: Path, tmp_path: Path, tiny_model: EncoderModel
) -> None:
    plans, _ = plan_all(root, ["nights", "sice-brightness"])
    for timing in measure(tiny_model, plans, tmp_path, rounds=1):
        assert 0 < timing.encoder < timing.runner
        assert timing.cached > 0
