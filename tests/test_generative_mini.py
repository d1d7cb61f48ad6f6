"""The small generative model, made from nothing but photos and the bundled vision tower, on a tiny data root."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from photo_crops import photo_crops
from PIL import Image
from tiny_generative_mini import SETTINGS, write_photos
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from unisim_metrics import UniSimRanking, load_model
from unisim_metrics.benchmark import load_dataset
from unisim_metrics.cli import app
from unisim_metrics.images import load_image
from unisim_metrics.training.generative.mini.evaluate import evaluate, severity_pairs
from unisim_metrics.training.generative.mini.model import write_base
from unisim_metrics.training.generative.mini.recipe import QUALITY, SIMILARITY, read_recipe
from unisim_metrics.training.publishing.finished_run import read_run

TOWER = Path(str(resources.files("unisim_metrics"))) / "assets" / "unisim-mini"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data"))


def unisim(*arguments: object) -> tuple[int, str]:
    settings = [option for setting in SETTINGS for option in ("--set", setting)]
    result = CliRunner().invoke(app, ["train", "unisim-ll-mini", *map(str, arguments), *settings])
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mini"
    code, output = unisim("--data", root, "--out", out, "--workers", 0)
    assert code == 0, output
    return out


def test_triplets_are_degrees_of_one_photo(made: Path) -> None:
    quality = load_dataset(str(made / "triplets" / QUALITY), made / "triplets").samples("train")
    similarity = load_dataset(str(made / "triplets" / SIMILARITY), made / "triplets").samples("train")
    # Four of six BSDS photos are not held out, each drawn twice; three of Flickr8k are drawn once.
    assert (len(quality), len(similarity)) == (3 * (2 * 4 + 3), 2 * 4 + 3)
    for sample in similarity:
        original, right, wrong = sample.reference, *sorted(sample.alternatives, key=str)
        place, draw, name, degree = Path(right).stem.split("-")
        assert Path(str(original)).stem == place and Path(wrong).stem.startswith(f"{place}-{draw}-{name}-")
        mild = sample.alternatives[sample.label]
        assert float(degree) < float(Path(wrong).stem.split("-")[3]) and mild == right
        # The milder degree is nearer to the original, pixel by pixel.
        pixels = [load_image(str(path)).float() for path in (original, right, wrong)]
        assert {tuple(image.shape) for image in pixels} == {(3, 64, 64)}
        near, far = (float((pixels[0] - other).abs().mean()) for other in pixels[1:])
        assert near <= far + 1, name


@pytest.mark.parametrize(("image_size", "tokens"), [(None, 16), (112, 9), (32, 1)])
def test_an_image_has_a_token_for_each_place_that_the_tower_sees(
    image_size: int | None, tokens: int, tmp_path: Path
) -> None:
    recipe = read_recipe(overrides=[setting for setting in SETTINGS if not setting.startswith("triplets")])
    if image_size is not None:
        recipe = replace(recipe, triplets=replace(recipe.triplets, image_size=image_size))
    write_base(recipe, TOWER, tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    pictures = [Image.new("RGB", (90, 70)), Image.new("RGB", (70, 90))]
    inputs = processor(text=["<image> or <image>?"], images=[pictures], return_tensors="pt")
    assert int((inputs["input_ids"] == model.config.image_token_id).sum()) == 2 * tokens
    assert model(**inputs).logits.isfinite().all()


def test_base_is_of_transformers_own_classes(made: Path) -> None:
    model = AutoModelForImageTextToText.from_pretrained(made / "base")
    processor = AutoProcessor.from_pretrained(made / "base")
    assert type(model).__name__ == "FastVlmForConditionalGeneration"
    for letter in "ABC":
        assert len(processor.tokenizer(letter, add_special_tokens=False)["input_ids"]) == 1
    text = "<|im_start|>user\nGiven <image> as the reference, é 12?<|im_end|>\n"
    inputs = processor(text=[text], images=[[Image.new("RGB", (90, 70))]], return_tensors="pt")
    assert (
        int((inputs["input_ids"] == model.config.image_token_id).sum()) == 4 == model.config.image_seq_length
    )
    unexpanded = processor.tokenizer(text)["input_ids"]
    assert processor.tokenizer.decode(unexpanded) == text
    assert model(**inputs).logits.isfinite().all()
    bundled: Any = load_model("unisim-mini")
    for name, weight in bundled.backbone.vision_model.state_dict().items():
        torch.testing.assert_close(model.model.vision_tower.state_dict()[name], weight)


def test_stages_leave_a_run_like_any_other(made: Path, root: Path) -> None:
    run = read_run(made)
    assert run.generative and not run.has_adapter and run.steps == run.planned_steps == 4
    assert run.own_evaluation is not None and run.first_evaluation is not None
    assert run.recipe["base"] == str(made / "letters" / "model")
    assert [row["dataset"] for row in run.environment["data"]] == [
        Path(file).stem for file in (QUALITY, SIMILARITY)
    ]
    model: Any = load_model(made / "model")
    tower = load_model(made / "base").backbone.model.vision_tower.state_dict()  # type: ignore[attr-defined]
    for name, weight in model.backbone.model.vision_tower.state_dict().items():
        assert torch.equal(weight, tower[name]), name  # statistics too
    ranking = UniSimRanking(model, task="image-image")
    photos = photo_crops(3)
    ranking.update([photos[1:]], photos[:1])
    assert ranking.compute()["win_rate"].sum() == 1
    code, output = unisim("--data", root, "--out", made)
    assert code != 0 and "holds a run" in output
    code, output = unisim("--data", root, "--out", made, "--resume", "--workers", 0)
    assert code == 0, output
    assert load_model(made / "model").weights_hash() == model.weights_hash()
    code, output = unisim("--data", root, "--out", made, "--resume", "--set", "seed=1")
    assert code != 0 and "of another recipe" in output
    code, output = unisim("--data", root, "--max-steps", 2)
    assert code != 0 and "--max-steps" in output


def test_recipe_as_it_ships() -> None:
    recipe = read_recipe()
    letters, judgments = (recipe.stage(name, Path("base"), Path("data")) for name in ("letters", "judgments"))
    assert letters.data.datasets == (str(Path("data") / QUALITY),)
    assert (
        letters.wording.as_asked == 1.0 and judgments.wording.swap > 0 and judgments.name == "unisim-ll-mini"
    )
    assert letters.learning_rates.vision_tower == judgments.learning_rates.vision_tower == 0.0


def test_evaluation_asks_about_held_out_photos(root: Path) -> None:
    """An encoder answers alike in both places, so that all figures of a task agree."""
    pairs = list(severity_pairs(root, 6))
    assert len({pair.photo.sum().item() for pair in pairs}) == 2  # every fifth photo is held out
    model = load_model("unisim-mini")
    figures = evaluate(model, root, pairs=6, batch=4)
    for task, figure in figures.items():
        assert figure["accuracy"] == figure["right first"] == figure["right second"], task
        assert figure["interval"][0] <= figure["accuracy"] <= figure["interval"][1] and figure["n"] == 6
    scores = model.compare(None, [[pair.mild, pair.severe] for pair in pairs], task="quality")
    assert figures["quality"]["accuracy"] == round(float((scores[:, 0] > scores[:, 1]).float().mean()), 4)
    assert json.dumps(figures)
