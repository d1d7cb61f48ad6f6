"""`unisim train` from a data root to an adapter that plain peft loads, and to a metric."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip
from peft import PeftModel
from PIL import Image
from tiny_training import file_size_limit
from transformers import CLIPModel
from typer.testing import CliRunner

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.cli import app
from unisim_metrics.errors import CheckpointError
from unisim_metrics.tasks import Task
from unisim_metrics.training.clip.run import finish, plan, start
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.recipe import read_recipe

TEXTS = ["a red ball", "a dog runs", "two people", "blue sky", "a cat", "an old house"]
TASKS: tuple[Task, ...] = ("image-image", "image-text", "caption", "quality")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a JSONL file of each task, and images."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    # Three images and a text of its own for each triplet: no two hang together.
    paths = [root / "images" / f"{index}.jpg" for index in range(18)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    samples: dict[Task, list[Sample]] = {task: [] for task in TASKS}
    for index, text in enumerate(TEXTS):
        label, other = index % 2, TEXTS[index - 1]
        first, second, third = paths[3 * index : 3 * index + 3]
        samples["image-image"].append(Sample(first, (second, third), label))
        samples["image-text"].append(Sample(text, (first, third), label))
        samples["caption"].append(Sample(second, (text, other), label))
        samples["quality"].append(Sample(None, (second, third), label))
    for task, listed in samples.items():
        write_json_lines(root / f"{task}.jsonl", listed, task, root, "train")
    return root


@pytest.fixture
def recipe(root: Path, tiny_clip_dir: Path, tmp_path: Path) -> Path:
    base = tmp_path / "base"
    shutil.copytree(tiny_clip_dir, base)
    files = [str(root / f"{task}.jsonl") for task in TASKS]
    path = tmp_path / "mine.toml"
    path.write_text(
        f'name = "mine"\nbase = "{base}"\nsave_every = 2\n'
        f"[data]\ndatasets = {json.dumps(files)}\nsamples_per_task = 16\n"
        "[optimization]\nbatch_size = 4\nlearning_rate = 1e-3\nwarmup_steps = 1\n",
        encoding="utf-8",
    )
    return path


def unisim(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_recipe_to_metric(root: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, output = unisim("train", recipe, "--data", root, "--out", out, "--workers", 0)
    assert code == 0, output
    assert "Wrote" in output
    for task in TASKS:
        assert re.search(rf"{task}=\d+\.\d{{3}} \(\d+%\)", output), task

    metric = UniSimScore(out / "adapter")
    images = [root / "images" / f"{index}.jpg" for index in range(4)]
    assert -1 <= metric(images, TEXTS[:4]).item() <= 1
    base = CLIPModel.from_pretrained(tmp_path / "base")
    plain = PeftModel.from_pretrained(base, out / "adapter").eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = plain.get_image_features(pixel_values=pixels).pooler_output
        ours = load_model(out / "adapter").encode_pixels(pixels)  # type: ignore[attr-defined]
        untrained = load_model(tmp_path / "base").encode_pixels(pixels)  # type: ignore[attr-defined]
    assert (ours - expected).abs().max() <= 1e-5
    assert (ours - untrained).abs().max() > 1e-4

    written = json.loads((out / "recipe.json").read_text())
    assert written["optimization"]["learning_rate"] == 1e-3
    assert written["lora"]["rank"] == 16
    environment = json.loads((out / "environment.json").read_text())
    assert len(environment["data_hash"]) == 64
    assert [row["triplets"] for row in environment["data"]] == [6, 6, 6, 6]
    assert [row["held_out"] for row in environment["data"]] == [0, 0, 0, 0]
    assert environment["held_out_hash"] is None
    assert not (out / "validation.jsonl").exists()
    assert torch.__version__.startswith(environment["packages"]["torch"])
    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "base")


def test_stopped_and_resumed_equals_one_run(root: Path, recipe: Path, tmp_path: Path) -> None:
    options = ("--data", root, "--workers", 0)
    assert unisim("train", recipe, *options, "--out", tmp_path / "one")[0] == 0
    assert unisim("train", recipe, *options, "--out", tmp_path / "two", "--max-steps", 2)[0] == 0
    code, output = unisim("train", recipe, *options, "--out", tmp_path / "two")
    assert code == 1
    assert "holds a run" in output
    assert unisim("train", recipe, *options, "--out", tmp_path / "two", "--resume")[0] == 0
    one, two = (
        (tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("one", "two")
    )
    assert one == two
    code, output = unisim("train", recipe, *options, "--out", tmp_path / "two", "--resume", "--set", "seed=5")
    assert code == 1
    assert "another recipe" in output


def test_validation_on_held_out_triplets(root: Path, recipe: Path, tmp_path: Path) -> None:
    options = (
        "--data",
        root,
        "--workers",
        0,
        "--set",
        "validation.triplets=2",
        "--set",
        "validation.every=2",
    )
    out = tmp_path / "run"
    code, output = unisim("train", recipe, *options, "--dry-run")
    assert code == 0, output
    assert unisim("train", recipe, *options, "--out", out, "--max-steps", 3)[0] == 0
    code, shown = unisim("train", recipe, *options, "--out", out, "--resume")
    assert code == 0, shown

    lines = [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 2, 3, 4]
    environment = json.loads((out / "environment.json").read_text())
    assert [(row["triplets"], row["held_out"]) for row in environment["data"]] == [(4, 2)] * 4
    assert {line["samples_hash"] for line in lines} == {environment["held_out_hash"]}
    assert environment["held_out_hash"] in output
    assert environment["data_hash"] in output

    # The last line is of the adapter that was written.
    planned = plan(read_recipe(recipe, ["validation.triplets=2"]), root)
    model = load_model(out / "adapter")
    for pool, result in zip(planned.held_out, lines[-1]["results"], strict=True):
        right = 0
        for sample in pool.samples:
            references = None if sample.reference is None else [sample.reference]
            scores = model.compare(references, [list(sample.alternatives)], task=pool.task)
            right += int(scores[0, 1] > scores[0, 0]) == sample.label
        assert (result["dataset"], result["task"], result["n"]) == (pool.dataset, pool.task, 2)
        assert result["accuracy"] == right / 2
    assert "held out, step 4: image-image" in shown
    assert "Accuracy on triplets held out" in shown


def test_dry_run_trains_nothing(root: Path, recipe: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "images")
    code, output = unisim(
        "train",
        recipe,
        "--data",
        root,
        "--dry-run",
        "--set",
        "data.samples_per_task=40",
        "--out",
        tmp_path / "no",
    )
    assert code == 0, output
    assert "10 steps" in output
    for task in TASKS:
        assert task in output
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "must be one of"),
        (("RECIPE", "--set", "data.datasets=['no-such-set']"), "no-such-set"),
        (("RECIPE", "--set", "data.datasets=['nights']"), "nights"),
        (("RECIPE", "--set", "lora.layers='nowhere'"), "does not fit the base"),
        (("RECIPE", "--set", "base='no/such/base'"), "must be the directory or the Hub id"),
        (("RECIPE", "--set", "data.datasets=[]"), "must name at least one dataset"),
        (("RECIPE", "--set", "data.datasets=['bapps']"), "'bapps' must have triplets to train on"),
        (("RECIPE", "--set", "data.datasets=['DATA/test-only.jsonl']"), "must have triplets to train on"),
        (
            ("RECIPE", "--set", "data.datasets=['DATA/label-2.jsonl']"),
            "'label' to be one of [0, 1], but got 2",
        ),
        (("RECIPE", "--set", "data.datasets=['DATA/three.jsonl']"), "must have two alternatives"),
        (
            ("RECIPE", "--set", "data.datasets=['DATA/quality.jsonl', 'DATA/quality.jsonl']"),
            "must name every dataset once, but got 'quality' twice",
        ),
        (
            ("RECIPE", "--set", "validation.triplets=1", "--set", "data.datasets=['DATA/one.jsonl']"),
            "its 1 triplets hang together",
        ),
    ],
)
def test_what_cannot_be_trained(
    root: Path, recipe: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    lines = (root / "quality.jsonl").read_text().splitlines(keepends=True)
    records = [json.loads(line) for line in lines]
    three = {**records[0], "alternatives": records[0]["alternatives"] + records[1]["alternatives"][:1]}
    for name, record in {
        "test-only": {**records[0], "split": "test"},
        "label-2": {**records[0], "label": 2},
        "three": three,
        "one": records[0],
    }.items():
        (root / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    given = [
        recipe if argument == "RECIPE" else argument.replace("DATA", str(root)) for argument in arguments
    ]
    code, output = unisim("train", *given, "--data", root, "--out", tmp_path / "run", "--workers", 0)
    assert code in (1, 2)
    assert message in output.replace("\n", " ")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_changed_under_its_name(root: Path, recipe: Path, tmp_path: Path) -> None:
    """A run does not go on from another base or on other triplets, though the recipe names them alike."""
    options = ("--data", root, "--workers", 0, "--out", tmp_path / "run")
    assert unisim("train", recipe, *options, "--max-steps", 2)[0] == 0
    quality = root / "quality.jsonl"
    lines = quality.read_text()
    quality.write_text(lines.replace('"label": 1', '"label": 0'))
    code, output = unisim("train", recipe, *options, "--resume")
    assert code == 1
    assert "was trained on other triplets" in output
    quality.write_text(lines)
    write_clip(tmp_path / "base", seed=1)
    code, output = unisim("train", recipe, *options, "--resume")
    assert code == 1
    assert "was trained from another base" in output
    write_clip(tmp_path / "base")
    assert unisim("train", recipe, *options, "--resume")[0] == 0


def test_adapter_on_another_base(root: Path, recipe: Path, tmp_path: Path) -> None:
    """Refused also where every shape fits; peft itself cannot know."""
    assert unisim("train", recipe, "--data", root, "--workers", 0, "--out", tmp_path / "run")[0] == 0
    adapter = tmp_path / "run" / "adapter"
    write_clip(tmp_path / "twin", seed=1)
    write_clip(tmp_path / "wider", width=64)
    assert load_model(adapter, base=shutil.copytree(tmp_path / "base", tmp_path / "moved")).name == "adapter"
    with pytest.raises(CheckpointError, match=r"was trained from other weights than those of .*twin"):
        load_model(adapter, base=tmp_path / "twin")
    with pytest.raises(CheckpointError, match=r"was trained from other weights than those of .*wider"):
        load_model(adapter, base=tmp_path / "wider")
    PeftModel.from_pretrained(CLIPModel.from_pretrained(tmp_path / "twin"), adapter)


def test_disk_full_at_the_end(root: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    trainer, base = start(read_recipe(recipe), root, out, workers=0)
    list(trainer.train())
    with (
        file_size_limit(10_000),
        pytest.raises(TrainingError, match=r"The adapter cannot be written.*resume"),
    ):
        finish(trainer, base)
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        "checkpoint-00000002",
        "checkpoint-00000004",
    }
    code, output = unisim("train", recipe, "--data", root, "--workers", 0, "--out", out, "--resume")
    assert code == 0, output
    assert load_model(out / "adapter").name == "adapter"


def test_unreadable_images_are_reported(root: Path, recipe: Path, tmp_path: Path) -> None:
    (root / "images" / "0.jpg").unlink()
    truncated = root / "images" / "1.jpg"
    truncated.write_bytes(truncated.read_bytes()[:200])
    code, output = unisim("train", recipe, "--data", root, "--workers", 0, "--out", tmp_path / "run")
    assert code == 0, output
    for name in ("0.jpg", "1.jpg"):
        assert re.search(rf"left out \d+ triplets, could not be read: .*{name}", output)


def test_accelerate_launch(root: Path, recipe: Path, tmp_path: Path) -> None:
    """Two processes, as users start them, give the weights of one."""
    options = ["--data", str(root), "--workers", "0", "--max-steps", "2", "--set", "lora.dropout=0.0"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--num_cpu_threads_per_process", "1", "--main_process_port", "0"]
    program = ["-m", "unisim_metrics", "train", str(recipe), *options, "--out", str(tmp_path / "two")]
    run = subprocess.run([*launch, *program], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert unisim("train", recipe, *options, "--out", tmp_path / "one")[0] == 0
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        one, two = (
            load_model(tmp_path / name / "adapter").encode_pixels(pixels)  # type: ignore[attr-defined]
            for name in ("one", "two")
        )
    assert (one - two).abs().max() <= 1e-5
