"""`unisim train` from a data root to an adapter that plain peft loads, and to a metric."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import CLIPModel
from typer.testing import CliRunner

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.cli import app

TEXTS = ["a red ball", "a dog runs", "two people", "blue sky"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a JSONL file of each task, and images."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(8):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{index}.jpg")

    def image(index: int) -> dict[str, str]:
        return {"image": f"images/{index % 8}.jpg"}

    def text(index: int) -> dict[str, str]:
        return {"text": TEXTS[index % 4]}

    rows = {
        "image-image": [(image(i), [image(i + 1), image(i + 2)]) for i in range(6)],
        "image-text": [(text(i), [image(i), image(i + 3)]) for i in range(6)],
        "caption": [(image(i), [text(i), text(i + 1)]) for i in range(6)],
        "quality": [(None, [image(i), image(i + 4)]) for i in range(6)],
    }
    for task, samples in rows.items():
        lines = [
            json.dumps(
                {"task": task, "reference": reference, "alternatives": pair, "label": i % 2, "split": "train"}
            )
            for i, (reference, pair) in enumerate(samples)
        ]
        (root / f"{task}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def recipe(root: Path, tiny_clip_dir: Path, tmp_path: Path) -> Path:
    base = tmp_path / "base"
    shutil.copytree(tiny_clip_dir, base)
    files = [str(root / f"{task}.jsonl") for task in ("image-image", "image-text", "caption", "quality")]
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

    metric = UniSimScore(out / "adapter")
    images = [root / "images" / f"{index}.jpg" for index in range(4)]
    assert -1 <= metric(images, TEXTS).item() <= 1
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
    for task in ("image-image", "image-text", "caption", "quality"):
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
    ],
)
def test_what_cannot_be_trained(
    root: Path, recipe: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [recipe if argument == "RECIPE" else argument for argument in arguments]
    code, output = unisim("train", *given, "--data", root, "--out", tmp_path / "run", "--workers", 0)
    assert code in (1, 2)
    assert message in output.replace("\n", " ")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


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
