"""Training a generative model: what learns at which rate, resuming, LoRA, data that cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_generative import FAMILIES
from tiny_generative import build as build_tiny
from tiny_instructions import recipe_of, train, write_data, write_instructions, write_model
from typer.testing import CliRunner

from unisim_metrics import load_model
from unisim_metrics.cli import app
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.generative import run
from unisim_metrics.training.generative.parts import PARTS, freeze, parameter_groups, part_of, still_modules
from unisim_metrics.training.generative.recipe import Recipe, read_recipe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    write_instructions(folder)
    return folder


@pytest.fixture
def recipe(base: Path, root: Path) -> Recipe:
    return recipe_of(base, sorted(map(str, root.glob("*.jsonl"))))


@pytest.fixture(scope="module")
def finished(base: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe_of(base, sorted(map(str, root.glob("*.jsonl")))), root, out)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return loaded


def test_paper_recipes() -> None:
    """Appendix B.2."""
    unisim, first, large = (
        read_recipe(name) for name in ("unisim-ll-n-0.5b", "unisim-ll-n-0.5b-v1", "unisim-ll-n-7b-v1")
    )
    assert unisim.data.samples.by_task() == {
        "image-image": 120_000,
        "image-text": 300_000,
        "caption": 300_000,
        "quality": 120_000,
    }
    assert unisim.instructions.samples == 500_000 and unisim.instructions.min_images == 2
    assert unisim.dialogues == 1_340_000 and first.dialogues == large.dialogues == 840_000
    assert not first.instructions.files and first.learning_rates == unisim.learning_rates
    assert unisim.learning_rates.by_part() == {
        "language_model": 1e-5,
        "projector": 1e-5,
        "vision_tower": 2e-6,
    }
    assert large.learning_rates.by_part() == {"language_model": 2e-6, "projector": 2e-6, "vision_tower": 0.0}
    for recipe in (unisim, first, large):
        assert (recipe.optimization.warmup, recipe.optimization.weight_decay) == (0.03, 0.0)
        assert recipe.steps == recipe.dialogues // recipe.optimization.batch_size and recipe.lora.rank == 0


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_its_parts(family: str) -> None:
    backbone, _ = build_tiny(family)
    by_part: dict[str, int] = dict.fromkeys(PARTS, 0)
    for name, parameter in backbone.named_parameters():
        by_part[part_of(name)] += parameter.numel()
    assert min(by_part.values()) > 0
    language_model = getattr(backbone.model, "language_model", None) or backbone.model.text_model
    text = sum(parameter.numel() for parameter in language_model.parameters())
    head = backbone.lm_head.weight
    tied = head is backbone.get_input_embeddings().weight
    assert by_part["language_model"] == text + (0 if tied else head.numel())


def test_groups_and_frozen_tower() -> None:
    backbone, _ = build_tiny("llava")
    rates: Any = {"language_model": 1e-5, "projector": 1e-4, "vision_tower": 2e-6}
    groups = parameter_groups(backbone, rates, 0.0)
    assert {group["name"]: (group["lr"], group["weight_decay"]) for group in groups} == {
        part: (rate, 0.0) for part, rate in rates.items()
    }
    assert sum(len(group["params"]) for group in groups) == len(list(backbone.parameters()))
    for group in parameter_groups(backbone, rates, 0.1):
        assert all((parameter.ndim > 1) == (group["weight_decay"] == 0.1) for parameter in group["params"])
        assert group["name"].endswith("/no_decay") == (group["weight_decay"] == 0)
    rates["vision_tower"] = 0.0
    freeze(backbone, rates)
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert (
        frozen
        == {name for name, _ in backbone.named_parameters() if part_of(name) == "vision_tower"}
        != set()
    )
    assert backbone.model.vision_tower in still_modules(backbone, rates)
    assert {group["name"] for group in parameter_groups(backbone, rates, 0.0)} == {
        "language_model",
        "projector",
    }
    with pytest.raises(ValueError, match="nothing is left to train"):
        freeze(backbone, dict.fromkeys(PARTS, 0.0))


def test_rates_rise_and_fall_by_part(recipe: Recipe, root: Path, tmp_path: Path) -> None:
    """A linear rise, then a cosine, each part from its own peak."""
    import dataclasses

    trainer = run.start(
        dataclasses.replace(recipe, optimization=dataclasses.replace(recipe.optimization, warmup=0.5)),
        root,
        tmp_path / "run",
        workers=0,
    )
    trainer.create_optimizer_and_scheduler(trainer.args.max_steps)
    peaks = {"language_model": 1e-3, "projector": 2e-3, "vision_tower": 1e-4}
    factors = [0.0, 0.5, 1.0, 0.5 * (1 + math.cos(math.pi / 2)), 0.0]
    for factor in factors:
        rates = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
        assert rates == pytest.approx({part: peak * factor for part, peak in peaks.items()}, abs=1e-12)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert trainer.args.gradient_accumulation_steps == 2 and trainer.args.max_steps == 4


def test_run_leaves_a_model_and_its_record(finished: Path, base: Path, recipe: Recipe) -> None:
    before, after = weights(base), weights(finished / "model")
    assert before.keys() == after.keys()
    changed = {part_of(name) for name in after if not torch.equal(before[name], after[name])}
    assert changed == set(PARTS)
    written = json.loads((finished / "recipe.json").read_text())
    assert written == recipe.to_dict()
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["dialogues"] == dict.fromkeys(("image-image", "image-text", "caption", "quality"), 4)
    assert {"base_hash", "data_hash", "templates_hash", "packages", "git", "command"} <= environment.keys()
    model = load_model(finished / "model")
    assert model.weights_hash() != load_model(base).weights_hash()
    assert not (finished / "model" / "training_args.bin").exists()


def test_resume_equals_a_run_that_never_stopped(
    finished: Path, recipe: Recipe, root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(recipe, root, out, stop=3)
    assert not all(
        torch.equal(tensor, weights(finished / "model")[name])
        for name, tensor in weights(out / "model").items()
    )
    train(recipe, root, out, resume=True)
    resumed = weights(out / "model")
    for name, tensor in weights(finished / "model").items():
        assert torch.equal(tensor, resumed[name]), name
    with pytest.raises(TrainingError, match="holds a run: resume it"):
        run.start(recipe, root, out)


def test_resume_refuses_what_has_changed(finished: Path, recipe: Recipe, root: Path, base: Path) -> None:
    import dataclasses

    with pytest.raises(TrainingError, match="of another recipe"):
        run.start(dataclasses.replace(recipe, seed=1), root, finished, resume=True)
    file = root / "quality.jsonl"
    lines = file.read_text()
    file.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    try:
        with pytest.raises(TrainingError, match="trained on other triplets"):
            run.start(recipe, root, finished, resume=True)
    finally:
        file.write_text(lines)


def test_frozen_tower_stays(base: Path, root: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        base,
        [str(root / "quality.jsonl")],
        learning_rates={"vision_tower": 0.0},
        data={"samples": {"image_image": 0, "image_text": 0, "caption": 0, "quality": 8}},
        optimization={"precision": "bf16", "checkpointing": True},
    )
    before, after = weights(base), weights(train(recipe, root, tmp_path / "run"))
    assert {part_of(name) for name in after if not torch.equal(before[name], after[name])} == {
        "language_model",
        "projector",
    }


def test_lora_run(base: Path, root: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    recipe = recipe_of(
        base,
        sorted(map(str, root.glob("*.jsonl"))),
        lora={"rank": 4, "dropout": 0.5},
        validation={"triplets": 1, "every": 2},
    )
    whole = train(recipe, root, tmp_path / "whole")
    train(recipe, root, tmp_path / "run", stop=2)
    adapter = train(recipe, root, tmp_path / "run", resume=True)
    assert adapter.name == "adapter"
    saved = load_file(adapter / "adapter_model.safetensors")
    undisturbed = load_file(whole / "adapter_model.safetensors")
    assert all(torch.equal(tensor, undisturbed[name]) for name, tensor in saved.items())
    kinds = {name.split(".")[-2] for name in saved}
    assert {"lora_A", "lora_B"} <= kinds and not any("vision_tower" in name for name in saved)
    loaded = PeftModel.from_pretrained(run.load_base(str(base)).model, adapter)
    assert sum("multi_modal_projector" in name for name in saved) == 4
    assert loaded.peft_config["default"].base_model_name_or_path == str(base)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "run" / "validation.jsonl").read_text().splitlines()
    ]
    assert steps == [0, 2, 4]
    assert (tmp_path / "run" / "validation.jsonl").read_text() == (
        tmp_path / "whole" / "validation.jsonl"
    ).read_text()


def test_adapter_must_fit(base: Path, root: Path, tmp_path: Path) -> None:
    files = sorted(map(str, root.glob("*.jsonl")))
    with pytest.raises(TrainingError, match="does not fit the base"):
        run.start(recipe_of(base, files, lora={"rank": 4, "layers": "nothing"}), root, tmp_path / "a")
    with pytest.raises(TrainingError, match="has no 'elsewhere'"):
        run.start(recipe_of(base, files, lora={"rank": 4, "whole": ["elsewhere"]}), root, tmp_path / "b")


def test_instructions_are_mixed_in(base: Path, root: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        base, sorted(map(str, root.glob("*.jsonl"))), instructions={"files": ["m4.json"], "samples": 8}
    )
    planned = run.plan(recipe, root)
    assert len(planned.mixture) == 24 == recipe.dialogues and planned.mixture.counts["instructions"] == 8
    origins = [planned.mixture.origin(place) for place in range(24)]
    assert [origins[:12].count(name) for name in ("instructions", "quality")] == pytest.approx([4, 2], abs=1)
    assert planned.instructions == {"m4.json": 3} and planned.instructions_hash is not None
    train(recipe, root, tmp_path / "run", stop=1)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["instructions"] == [{"dataset": "m4.json", "task": "instructions", "records": 3}]
    filtered = recipe_of(
        base,
        recipe.data.datasets and list(recipe.data.datasets),
        instructions={"files": ["m4.json"], "samples": 8, "min_images": 3},
    )
    with pytest.raises(ValueError, match="must hold records with 3 images or more"):
        run.plan(filtered, root)


def test_unreadable_images_are_counted_up_to_a_share(base: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    files = write_data(root)
    for name in ("0", "1"):
        (root / "images" / f"{name}.png").write_bytes(b"no image")
    settings: dict[str, Any] = {"samples": {"image_image": 0, "image_text": 0, "caption": 0, "quality": 12}}
    only = [file for file in files if "quality" in file]
    strict = recipe_of(base, only, data=settings)
    with pytest.raises(TrainingError, match=r"At most 0 dialogues may be left out, but 1 are.*0.png"):
        train(strict, root, tmp_path / "strict")
    lenient = recipe_of(base, only, data=settings | {"max_unreadable": 0.25})
    trainer = run.start(lenient, root, tmp_path / "run", workers=0)
    run.train(trainer)
    # One of six pairs cannot be read, and each comes twice.
    assert len(trainer.left_out.reasons) == 2
    assert all("could not be read" in reason for reason in trainer.left_out.reasons.values())
    again = run.start(lenient, root, tmp_path / "run", resume=True, workers=0)
    run.train(again, resume=True)
    assert again.left_out.reasons == trainer.left_out.reasons
    for image in (root / "images").iterdir():
        image.write_bytes(b"no image")
    with pytest.raises(TrainingError, match="At least one of 12 records in a row must be readable"):
        train(lenient, root, tmp_path / "none")


def test_loss_that_is_not_finite_ends_the_run(base: Path, root: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        base, sorted(map(str, root.glob("*.jsonl"))), learning_rates=dict.fromkeys(PARTS, 1e30), save_every=1
    )
    with pytest.raises(TrainingError, match="must be finite"):
        train(recipe, root, tmp_path / "run")


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ({"data": {"datasets": []}}, "data.datasets must name at least one dataset"),
        ({"instructions": {"files": ["m4.json"]}}, "must both be given or neither"),
        ({"instructions": {"samples": 5}}, "must both be given or neither"),
        ({"optimization": {"batch_size": 0}}, "optimization.batch_size must be at least 2"),
        ({"optimization": {"batch_size": 100}}, "data.samples must be at least 100, but got 16"),
        ({"learning_rates": {"projector": -1.0}}, "learning_rates must be at least 0"),
        ({"lora": {"rank": -1}}, "lora.rank must be at least 0"),
        ({"wording": {"swap": 1.5}}, "wording.swap must be between 0 and 1"),
        ({"data": {"samples": {"images": 1}}}, "no setting data.samples.images"),
    ],
)
def test_settings_out_of_range_are_named(tables: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        recipe_of(Path("base"), ["a.jsonl"], **tables)


def test_recipes_must_fit_the_data(base: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.samples must be 0 for 'image-image', of which no dataset"):
        run.plan(recipe_of(base, [str(root / "quality.jsonl")]), root)
    files = sorted(map(str, root.glob("*.jsonl")))
    with pytest.raises(ValueError, match="must be a multiple of the dialogues"):
        run.start(recipe_of(base, files, optimization={"device_batch_size": 3}), root, tmp_path / "run")


def test_command(base: Path, root: Path, tmp_path: Path) -> None:
    """`unisim train` finds the trainer by the recipe."""
    files = json.dumps(sorted(map(str, root.glob("*.jsonl"))))
    file = tmp_path / "mine.toml"
    file.write_text(
        f'extends = "unisim-ll-n-0.5b-v1"\nname = "mine"\nbase = "{base}"\n[data]\ndatasets = {files}\n'
        "[data.samples]\nimage_image = 2\nimage_text = 2\ncaption = 2\nquality = 2\n"
        '[optimization]\nbatch_size = 2\ndevice_batch_size = 2\nprecision = "no"\n'
    )
    runner = CliRunner()
    dry = runner.invoke(app, ["train", str(file), "--data", str(root), "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "4 steps" in dry.output and "8 dialogues" in dry.output
    out = tmp_path / "run"
    arguments = ["train", str(file), "--data", str(root), "--out", str(out), "--workers", "0"]
    result = runner.invoke(app, [*arguments, "--max-steps", "1", "--set", "validation.triplets=1"])
    assert result.exit_code == 0, result.output
    assert (out / "checkpoint-1").is_dir() and (out / "model" / "config.json").is_file()
    again = runner.invoke(app, [*arguments, "--set", "validation.triplets=1", "--resume"])
    assert again.exit_code == 0, again.output
    assert (out / "checkpoint-4").is_dir()
