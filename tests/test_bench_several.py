"""`unisim bench demo` over judges of different kinds: one table, one report, dashes where a judge has no answer.

The weights of the judges are random, in the layouts of their published files: what counts is which cells are filled.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_generative
import torch
from judge_cases import CASES
from typer.testing import CliRunner

from unisim_metrics import load_model
from unisim_metrics.cli.app import app

pytest.importorskip("pyarrow")
pytest.importorskip("skimage")

TASKS = ("Img-2AFC", "IT-2AFC", "Text-2AFC", "IQA", "PAA", "OOO", "IR")
SETS = ("nights", "imagereward", "polaris", "kadid-10k", "sice-brightness", "cifar-100-ooo", "roxford")
"""One set of each task."""

ANSWERED = {
    "unisim-mini": set(TASKS),
    "liqe": set(TASKS),
    "hpsv3": {"IT-2AFC"},
    "dreamsim-ensemble": {"Img-2AFC", "OOO", "IR"},
    "lpips-alex": {"Img-2AFC", "OOO"},
    "asker": set(TASKS) - {"IR"},
}
"""By embeddings, by a rating and embeddings, by a pair, by a space of images, by pairs of images, by choices."""


def test_one_command_asks_judges_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ["unisim-mini"]
    for case in CASES:
        if case.name in ANSWERED:
            (tmp_path / case.name).mkdir()
            models.append(f"{case.name}:{case.write(tmp_path / case.name, monkeypatch)}")
    asker = tiny_generative.model()
    asker.backbone.save_pretrained(tmp_path / "asker")
    asker.processor.save_pretrained(tmp_path / "asker")
    models.append(str(tmp_path / "asker"))
    out = tmp_path / "out"
    words = ["bench", "demo", "--output", str(out), "--n", "4", "--json"]
    words += [word for model in models for word in ("--model", model)]
    words += [word for name in SETS for word in ("--dataset", name)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output

    rows = json.loads(done.stdout)["results"]
    assert [row["model"] for row in rows] == models
    for row in rows:
        name = Path(row["model"]).name if "asker" in row["model"] else row["model"].split(":")[0]
        assert {task for task in TASKS if row[task] is not None} == ANSWERED[name], name

    # The report has the same, from the files.
    with open(out / "report" / "other_samples.csv", encoding="utf-8", newline="") as file:
        measured = {(line["model"], line["dataset"]) for line in csv.DictReader(file)}
    assert len(measured) == sum(map(len, ANSWERED.values()))
    for text in (
        (out / "report" / name).read_text(encoding="utf-8") for name in ("report.md", "report.html")
    ):
        assert "The demo by task" in text
    lines = (
        (out / "report" / "report.md")
        .read_text(encoding="utf-8")
        .partition("The demo by task")[2]
        .splitlines()
    )
    for row in rows:
        figures = [row[task] for task in TASKS]
        cells = " | ".join("–" if figure is None else f"{100 * figure:.1f}" for figure in figures)
        assert sum(line.endswith(f"| {cells} |") for line in lines) >= 1


def test_a_model_without_any_of_the_sets_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (lpips,) = (case for case in CASES if case.name == "lpips-alex")
    model = f"lpips-alex:{lpips.write(tmp_path, monkeypatch)}"
    done = CliRunner().invoke(
        app, ["bench", "demo", "-o", str(tmp_path / "out"), "-m", model, "-d", "polaris"]
    )
    assert done.exit_code == 2
    assert "names no set that the model lpips-alex" in " ".join(done.output.split())


def test_small_judges_run_without_their_weights_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither the Hub nor torchvision can be reached, and the cache is empty.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", _refuse)
    # Of LIQE's 495 texts ten: its text tower is of the published size.
    monkeypatch.setattr("unisim_metrics.models.judges.liqe.SCENES", ("animal",))
    monkeypatch.setattr("unisim_metrics.models.judges.liqe.DISTORTIONS", ("blur", "noise"))
    out = tmp_path / "out"
    words = ["bench", "demo", "--output", str(out), "--model", "all-small", "--n", "1", "--json"]
    done = CliRunner().invoke(app, [*words, "--dataset", "nights", "--dataset", "kadid-10k"])
    assert done.exit_code == 0, done.output
    answered = {
        row["model"]: {task for task in TASKS if row[task] is not None}
        for row in json.loads(done.stdout)["results"]
    }
    assert answered == {
        "unisim-mini": {"Img-2AFC", "IQA"},
        "random:pac-s-vit-b-32": {"Img-2AFC", "IQA"},
        "random:lpips-alex": {"Img-2AFC"},
        "random:liqe": {"Img-2AFC", "IQA"},
    }
    with open(out / "report" / "other_samples.csv", encoding="utf-8", newline="") as file:
        named = {line["model"].partition("@")[0] for line in csv.DictReader(file)}
    random = {f"{name}-random-weights" for name in ("pac-s-vit-b-32", "lpips-alex", "liqe")}
    assert named == {"unisim-mini", *random}


def _refuse(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_random_weights_are_the_same_twice_and_named_in_the_signature() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 40, 3), dtype=np.uint8)
    first, second = (load_model("random:lpips-alex") for _ in range(2))
    scores = [model.score(list(images), list(images[::-1]), "image-image") for model in (first, second)]
    assert (scores[0] < 0).all()
    assert scores[0].tolist() == scores[1].tolist()
    assert first.name == "lpips-alex-random-weights"
    assert first.weights_hash() == second.weights_hash()
    with torch.no_grad():
        next(first.backbone.parameters()).add_(1)
    assert first.weights_hash() != second.weights_hash()


@pytest.mark.parametrize("name", ["hpsv3", "unisim-mini", "nothing"])
def test_what_is_not_small_has_no_random_weights(name: str) -> None:
    with pytest.raises(ValueError, match=rf"must name one of .*'liqe'.* behind `random:`, but got '{name}'"):
        load_model(f"random:{name}")


def test_options_that_do_not_apply_to_random_weights_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`random:liqe`"):
        load_model("random:liqe", revision="main")
