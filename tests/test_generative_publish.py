"""`unisim publish` of a generative run: to the Hub, and from there to a process that knows nothing but the name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from docs_cards import run_code
from hub_server import Hub, point_client
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tiny_generative import pictures
from tiny_instructions import recipe_of, train, write_data, write_instructions, write_model
from typer.testing import CliRunner

from unisim_metrics import UniSimRanking, load_model
from unisim_metrics.cli import app
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.generative.model import GenerativeModel
from unisim_metrics.training.publishing.finished_run import read_run
from unisim_metrics.training.publishing.publish import prepare

BASE = "lab/tiny-llava"
JUDGE = """
import json, sys
from PIL import Image
from unisim_metrics import UniSimRanking, load_model
name, *files = sys.argv[1:]
images = [Image.open(file) for file in files]
model = load_model(name)
ranking = UniSimRanking(model, task="quality")
ranking.update([images[:2], images[2:]])
print(json.dumps({
    "scores": model.compare(None, [images[:2], images[2:]], task="quality").tolist(),
    "wins": ranking.compute()["win_rate"].tolist(),
    "signature": ranking.signature,
}))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run that trained all weights, and one of an adapter."""
    folder = tmp_path_factory.mktemp("runs")
    files = write_data(folder / "data")
    write_instructions(folder / "data")
    mixed = {"files": ["m4.json"], "samples": 4}
    held_out = {"triplets": 1, "every": 9}
    train(recipe_of(base, files, validation=held_out, instructions=mixed), folder / "data", folder / "whole")
    train(recipe_of(base, files, lora={"rank": 4}), folder / "data", folder / "lora")
    return {"whole": folder / "whole", "lora": folder / "lora"}


@pytest.fixture
def hub(tmp_path: Path, base: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", tokens={"hf_mine": "org"})
    hub.add(BASE, base)
    with hub.serve():
        yield hub


@pytest.fixture
def here(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client of this process to that Hub."""
    point_client(hub, tmp_path / "cache", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")


def publish(run: Path, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["publish", str(run), "--repo", "org/judge", *options])
    return result.exit_code, " ".join(result.output.split())


def judge_elsewhere(hub: Hub, name: str, tmp_path: Path) -> Any:
    """What a fresh process, with caches of its own, makes of a name."""
    files = [tmp_path / f"{index}.png" for index in range(4)]
    for file, picture in zip(files, pictures(4), strict=True):
        picture.save(file)
    settings = {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, name, *map(str, files)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.usefixtures("here")
def test_whole_weights_to_the_hub_and_back(
    hub: Hub, runs: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    code, output = publish(runs["whole"])
    assert code == 0 and f"{hub.address}/org/judge/tree/v1" in output, output
    judged = judge_elsewhere(hub, "org/judge", tmp_path)
    local: Any = load_model(runs["whole"] / "model")
    images = pictures(4)
    scores = local.compare(None, [images[:2], images[2:]], task="quality")
    torch.testing.assert_close(torch.tensor(judged["scores"]), scores)
    ranking = UniSimRanking(local, task="quality")
    ranking.update([images[:2], images[2:]])
    assert judged["wins"] == ranking.compute()["win_rate"].tolist()
    local.name = "org/judge"
    assert judged["signature"] == ranking.signature
    # The card has that signature, but for the task, and the figures of the run, before and after.
    files = hub.files("org/judge")
    card = ModelCard.load(files / "README.md")
    assert local.weights_hash()[:12] in card.text
    lines = (runs["whole"] / "validation.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    for before, after in zip(first["results"], last["results"], strict=True):
        row = f"| {after['dataset']} | {after['task']} | {before['accuracy']:.3f} | {after['accuracy']:.3f} |"
        assert row in card.text
    assert {figure.metric_value for figure in card.data.eval_results} == {
        result["accuracy"] for result in last["results"]
    }
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-text-to-text")
    assert "m4.json" in card.text and "48 questions" in card.text and card.data.license == "other"
    # No path of this machine is told.
    for name in ("README.md", "recipe.json", "environment.json"):
        text = (files / name).read_text()
        assert str(base) not in text and str(runs["whole"].parent) not in text


@pytest.mark.usefixtures("here")
def test_adapter_and_its_full_weights_agree(hub: Hub, runs: dict[str, Path], base: Path) -> None:
    from peft import PeftModel

    code, output = publish(runs["lora"])
    assert code != 0 and "must be the Hub id" in output
    code, output = publish(runs["lora"], "--base", BASE)
    assert code == 0, output
    published: Any = hub.files("org/judge")
    plain: Any = load_model(base)
    images = pictures(4)
    before = plain.compare(None, [images[:2], images[2:]], task="quality")
    adapted = PeftModel.from_pretrained(plain.backbone, published, subfolder="adapter")
    assert adapted.peft_config["default"].base_model_name_or_path == BASE
    after = load_model(adapted.merge_and_unload(), processor=plain.processor).compare(
        None, [images[:2], images[2:]], task="quality"
    )
    whole = load_model(published)
    scores = whole.compare(None, [images[:2], images[2:]], task="quality")
    torch.testing.assert_close(scores, after, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, after, atol=1e-3)
    # The adapter alone finds its base, which both of its configuration and of the caller may name.
    for alone in (load_model(published / "adapter"), load_model(runs["lora"] / "adapter", base=base)):
        assert alone.weights_hash() == whole.weights_hash()
        assert torch.equal(alone.compare(None, [images[:2], images[2:]], task="quality"), scores)
    groups = {"candidates": [images[:2], images[2:]], "prompts": ["a cat", "a dog"]}
    assert run_code((published / "README.md").read_text(), **groups) == 3
    card = ModelCard.load(published / "README.md")
    assert card.data.base_model == BASE and 'subfolder="adapter"' in card.text
    assert "It was not evaluated." in card.text


def test_adapter_of_a_run_must_be_whole_and_takes_what_generative_models_take(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    adapter = runs["lora"] / "adapter"
    model = load_model(adapter, dtype=torch.bfloat16, batch_size=1)
    assert isinstance(model, GenerativeModel) and model.name == "adapter"
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="`tokenizer` does not apply"):
        load_model(adapter, tokenizer=model.processor.tokenizer)
    damaged = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    weights = load_file(damaged / "adapter_model.safetensors")
    lost = next(name for name in weights if "lora_B" in name)
    save_file(
        {name: weight for name, weight in weights.items() if name != lost},
        damaged / "adapter_model.safetensors",
    )
    with pytest.raises(CheckpointError, match="1 is missing"):
        load_model(damaged)


@pytest.mark.usefixtures("here")
def test_another_base_is_refused(hub: Hub, runs: dict[str, Path], tmp_path: Path) -> None:
    hub.add("lab/other", write_model(tmp_path / "other", seed=1))
    code, output = publish(runs["lora"], "--base", "lab/other")
    assert code != 0 and "its weights are others" in output
    assert not [line for line in hub.asked if not line.startswith(("GET", "HEAD"))]


def test_dry_run_shows_the_files_and_the_card(runs: dict[str, Path]) -> None:
    code, output = publish(runs["whole"], "--dry-run", "--license", "mit")
    assert code == 0, output
    assert "model.safetensors" in output and "license: mit" in output and "Nothing was published." in output


def test_unfinished_and_damaged_runs_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs["whole"], tmp_path / "run"))
    shutil.rmtree(run / "model")
    code, output = publish(run, "--dry-run")
    assert code != 0 and "is not finished: it has no model" in output
    shutil.copytree(run / "checkpoint-4", run / "model")
    code, output = publish(run, "--dry-run")
    assert code != 0 and "are not those of its last checkpoint, at step 5" in output
    shutil.rmtree(run / "model")
    shutil.copytree(runs["whole"] / "model", run / "model")
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    code, output = publish(run, "--dry-run")
    assert code != 0 and "cannot be read" in output


def test_weights_that_were_not_copied_whole_are_not_published(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back before the first byte goes up."""
    copy = shutil.copytree

    def spoil(source: Path, target: Path, *args: Any, **kwargs: Any) -> Any:
        copied = copy(source, target, *args, **kwargs)
        file = Path(target) / "model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        return copied

    monkeypatch.setattr(shutil, "copytree", spoil)
    with (
        pytest.raises(CheckpointError, match="nothing is published"),
        prepare(read_run(runs["whole"]), "org/judge"),
    ):
        pass
