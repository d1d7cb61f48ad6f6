"""The recipe of the bundled model, end to end on a tiny data root in the real layout."""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, CLIPTokenizer, MobileNetV2Config, MobileNetV2Model
from typer.testing import CliRunner

from docs.experiments import ablations
from docs.experiments.intervals import interval
from unisim_metrics import load_model
from unisim_metrics.benchmark.datasets.annotations import AnnotationError
from unisim_metrics.cli.app import app
from unisim_metrics.training.distortions import DISTORTIONS, LEVELS
from unisim_metrics.training.mini import evaluate, photos
from unisim_metrics.training.mini.align import Captions, align, aligned_embeddings, contrastive_losses
from unisim_metrics.training.mini.export import export
from unisim_metrics.training.mini.mobilenet import Layer, build_mobilenet
from unisim_metrics.training.mini.perceptual import train_perceptual
from unisim_metrics.training.mini.recipe import Recipe, read_recipe
from unisim_metrics.training.mini.train import train, vocabulary_texts
from unisim_metrics.training.mini.two_towers import (
    build_tokenizer,
    build_two_towers,
    load,
    text_embeddings,
    tokenize,
)
from unisim_metrics.training.mini.views import Views, plan_views, render, write_plan

SMALL = [
    "tokenizer={vocab_size = 400, context_length = 16}",
    "text.hidden_size=32",
    "text.num_hidden_layers=1",
    "text.num_attention_heads=2",
    "text.intermediate_size=64",
    "text.projection_dim=16",
    "align.steps=60",
    "align.caption_batch=8",
    "align.class_batch=4",
    "align.learning_rate=5e-3",
    "align.warmup_steps=5",
    "perceptual.steps=2",
    "perceptual.warmup_steps=1",
    "perceptual.image_size=64",
    "perceptual.caption_batch=4",
    "perceptual.class_batch=2",
    "perceptual.photo_batch=4",
    "perceptual.material_batch=2",
    "perceptual.distortion_batch=3",
]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "grey": (128, 128, 128)}


def write_photo(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int], rng: np.random.Generator
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array(colour) + rng.normal(0, 25, (size[1], size[0], 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (root / "flickr8k").mkdir()
    with open(root / "flickr8k" / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "caption"])
        for index in range(32):
            name = list(COLOURS)[index % 4]
            write_photo(root / "flickr8k" / "images" / f"{index}.jpg", COLOURS[name], (128, 128), rng)
            for text in ("A {} wall .", "The wall is {} .", "Something {}", "A {} photo .", "All {} ."):
                writer.writerow([f"{index}.jpg", "train" if index < 24 else "dev", text.format(name)])
    (root / "tiny-imagenet-60").mkdir()
    with open(root / "tiny-imagenet-60" / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "wnid", "words"])
        for index in range(16):
            name = list(COLOURS)[index % 4]
            write_photo(root / "tiny-imagenet-60" / "images" / f"{index}.JPEG", COLOURS[name], (64, 64), rng)
            writer.writerow([f"{index}.JPEG", f"n{index % 4}", f"{name}, {name} thing"])
    for index in range(5):
        write_photo(root / "bsds400" / "images" / "train" / f"{index}.jpg", COLOURS["green"], (150, 110), rng)
    for light in ("dawn", "dusk"):
        for index in range(40):
            write_photo(
                root / "material-2afc" / "images" / light / f"m{index:02}.jpg", COLOURS["grey"], (64, 64), rng
            )
    answers = [rng.choice(40, size=3, replace=False).tolist() for _ in range(3000)]
    (root / "material-2afc" / "answers_train.json").write_text(json.dumps({"answers_diff": answers}))
    folder = root / "cifar-100-python" / "cifar-100-python"
    folder.mkdir(parents=True)
    content = {
        b"data": rng.integers(0, 256, (60, 3072), dtype=np.uint8),
        b"coarse_labels": [index % 20 for index in range(60)],
    }
    (folder / "test").write_bytes(pickle.dumps(content, protocol=2))
    return root


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe(overrides=SMALL)


@pytest.fixture(scope="module")
def views(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `teacher.py` writes, with a small random MobileNet as the teacher and the mean colours beside it."""
    folder = tmp_path_factory.mktemp("views")
    plan = plan_views(root, views=2, bsds_views=2, seed=0)
    write_plan(plan, root, folder)
    torch.manual_seed(0)
    config = MobileNetV2Config(image_size=64, depth_multiplier=0.25, finegrained_output=False)
    config.hidden_size = 320
    MobileNetV2Model(config).save_pretrained(folder / "mobilenet")
    colours = np.stack([np.asarray(render(view, 64), dtype=np.float32).mean(axis=(0, 1)) for view in plan])
    noise = np.random.default_rng(0).random((len(plan), 320 - 3), dtype=np.float32)
    np.save(folder / "features.npy", np.concatenate([colours / 40, noise], axis=1))
    return folder


def test_plan_leaves_out_what_is_held_out(root: Path) -> None:
    planned = {view.path for view in plan_views(root, views=2, bsds_views=2, seed=0)}
    assert planned.isdisjoint(photos.flickr8k_captions(root, "dev"))
    assert planned.isdisjoint(photos.bsds_photos(root, held_out=True))
    for folder in photos.material_images(root):
        held_out = photos.held_out_materials(len(folder))
        assert planned.isdisjoint(folder[index] for index in held_out)
        assert planned.issuperset(folder[index] for index in set(range(len(folder))) - held_out)


def test_plan_is_the_same_for_the_same_seed(root: Path) -> None:
    first, second, other = (plan_views(root, 2, 2, seed) for seed in (0, 0, 1))
    assert first == second != other
    for view in first:
        if view.box is not None:
            with Image.open(view.path) as image:
                assert 0 <= view.box[0] < view.box[2] <= image.width
                assert 0 <= view.box[1] < view.box[3] <= image.height


def test_material_triplets_keep_to_their_materials(root: Path) -> None:
    held_out = photos.held_out_materials(40)
    triplets = photos.material_triplets(root, held_out)
    answers = json.loads((root / "material-2afc" / "answers_train.json").read_text())["answers_diff"]
    expected = [answer for answer in answers if all(index in held_out for index in answer)]
    assert [[t.reference, t.closer, t.farther] for t in triplets] == expected
    assert 0 < len(expected) < len(answers)


def test_contrastive_losses_against_numpy() -> None:
    rng = np.random.default_rng(0)
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 5, 7)))
    labels = np.array([0, 1, 2, 1, 3])
    matches = labels[:, None] == labels[None]
    logits = images @ texts.T / 0.1
    target = matches / matches.sum(1, keepdims=True)

    def cross_entropy(z: np.ndarray) -> float:
        return float(-(target * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1).mean())

    losses = contrastive_losses(torch.tensor(images), torch.tensor(texts), torch.tensor(matches), 0.1)
    expected = [cross_entropy(logits), cross_entropy(logits.T)]
    assert [loss.item() for loss in losses] == pytest.approx(expected, abs=1e-9)


def test_views_are_read_in_the_order_asked_for(root: Path, views: Path) -> None:
    read = Views(root, views)
    rows = np.array([9, 2, 30])
    pixels = read.pixels(rows, 48, np.random.default_rng(0)).numpy()
    for row, shown in zip(rows, pixels, strict=True):
        expected = np.asarray(render(read.plan[row], 48)).transpose(2, 0, 1)
        assert np.array_equal(shown, expected) or np.array_equal(shown, expected[..., ::-1])


def test_mobilenet_from_folded_convolutions() -> None:
    """Against the folded network written out in NumPy's layout and torch's functions."""
    config = {"image_size": 33, "depth_multiplier": 0.25, "finegrained_output": False}
    rng = np.random.default_rng(0)
    layers: dict[str, Layer] = {}
    strides: dict[str, int] = {"Conv": 2, "Conv_1": 1}

    def add(scope: str, kernel: int, inputs: int, outputs: int) -> None:
        shape = (1, kernel, kernel, outputs) if inputs == 0 else (outputs, kernel, kernel, inputs)
        scale = np.exp(rng.normal(size=outputs)) / np.sqrt(kernel * kernel * max(inputs, 1))
        weight = rng.normal(size=shape) * (scale if inputs == 0 else scale[:, None, None, None])
        layers[scope] = Layer(weight, rng.normal(scale=0.1, size=outputs))

    widths = [8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 24, 24, 24, 40, 40, 40, 80]
    downs = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    add("Conv", 3, 3, 8)
    for block, down in enumerate(downs):
        scope = "expanded_conv" + (f"_{block}" if block else "")
        inner = widths[block] * (6 if block else 1)
        if block:
            add(f"{scope}/expand", 1, widths[block], inner)
        add(f"{scope}/depthwise", 3, 0, inner)
        add(f"{scope}/project", 1, inner, widths[block + 1])
        strides[f"{scope}/depthwise"] = down
    add("Conv_1", 1, 80, 320)

    def run(x: torch.Tensor, scope: str) -> torch.Tensor:
        weight, bias = torch.tensor(layers[scope].weight), torch.tensor(layers[scope].bias)
        kernel, stride = weight.shape[1], strides.get(scope, 1)
        # TensorFlow's "SAME": as many outputs as inputs over the stride, the odd pixel of padding at the end.
        total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
        x = torch.nn.functional.pad(x, [total // 2, total - total // 2] * 2)
        groups = weight.shape[-1] if scope.endswith("depthwise") else 1
        weight = weight.permute(3, 0, 1, 2) if groups > 1 else weight.permute(0, 3, 1, 2)
        x = torch.nn.functional.conv2d(x, weight, bias, stride, groups=groups)
        return x if scope.endswith("project") else x.clamp(0, 6)

    image = torch.tensor(rng.uniform(-1, 1, size=(2, 3, 33, 33)))
    x = run(image, "Conv")
    for block, down in enumerate(downs):
        scope, before = "expanded_conv" + (f"_{block}" if block else ""), x
        for part in ("expand", "depthwise", "project") if block else ("depthwise", "project"):
            x = run(x, f"{scope}/{part}")
        if block and down == 1 and widths[block] == widths[block + 1]:
            x = x + before
    expected = run(x, "Conv_1").mean(dim=(2, 3))

    model = build_mobilenet(layers, **config).double()
    with torch.no_grad():
        assert torch.allclose(model(image).pooler_output, expected, atol=1e-4)
    assert model.config.hidden_size == 320
    norms = model.layer[3].expand_1x1.convolution.weight.flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.full_like(norms, 2**0.5))


def test_mobilenet_wants_exactly_its_convolutions() -> None:
    with pytest.raises(ValueError, match=r"exactly the network's convolutions.*conv_1x1"):
        build_mobilenet({})
    with pytest.raises(ValueError, match="'Logits/Conv2d_1c_1x1'"):
        build_mobilenet({"Logits/Conv2d_1c_1x1": Layer(np.zeros((1, 1, 1, 1)), np.zeros(1))})


def test_text_tower_learns_to_name_colours(root: Path, views: Path, recipe: Recipe) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(vocabulary_texts(root), recipe)
    model = build_two_towers(MobileNetV2Model.from_pretrained(views / "mobilenet"), tokenizer, recipe)
    read = Views(root, views)
    align(model, tokenizer, read, Captions(root, read), recipe)
    aligned = aligned_embeddings(model, read)
    assert torch.allclose(aligned.norm(dim=-1), torch.ones(len(read)), atol=1e-5)
    captions = {
        str(path.relative_to(root)): texts for path, texts in photos.flickr8k_captions(root, "train").items()
    }
    with torch.no_grad():
        texts = text_embeddings(model, tokenize(tokenizer, [f"a {name} wall" for name in COLOURS]))
    rows = [row for row, path in enumerate(read.paths) if path in captions]
    named = [list(COLOURS)[index] for index in (aligned[rows] @ texts.T).argmax(dim=-1).tolist()]
    right = [name in captions[read.paths[row]][0] for name, row in zip(named, rows, strict=True)]
    assert np.mean(right) > 0.9


def test_tokenizer_survives_saving(root: Path, recipe: Recipe, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(vocabulary_texts(root), recipe)
    tokenizer.save_pretrained(tmp_path)
    texts = ["A green wall", "an unseen wörd 7!", ""]
    assert CLIPTokenizer.from_pretrained(tmp_path)(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    for ids in tokenizer(texts)["input_ids"]:
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == tokenizer.eos_token_id


def test_recipe_ends_in_a_model_that_loads_and_scores(
    root: Path, views: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(views, tmp_path / "views")
    shipped_folder = train(root, tmp_path, recipe)
    aligned, _ = load(tmp_path / "align")
    trained, _ = load(tmp_path / "perceptual")
    assert trained.config.vision_config.image_size == 64
    moved = {
        name
        for (name, before), after in zip(
            aligned.state_dict().items(), trained.state_dict().values(), strict=True
        )
        if not torch.equal(before, after)
    }
    assert {name.split(".")[0] for name in moved} >= {"vision_model", "visual_projection", "text_model"}
    frozen = ("vision_model.conv_stem", *(f"vision_model.layer.{block}." for block in range(3)), "running_")
    assert not [name for name in moved if name.startswith(frozen[:-1]) or frozen[-1] in name]
    before = (tmp_path / "perceptual" / "model.safetensors").stat().st_mtime_ns
    assert train(root, tmp_path, recipe) == shipped_folder
    assert (tmp_path / "perceptual" / "model.safetensors").stat().st_mtime_ns == before

    exact, shipped = load_model(tmp_path / "perceptual"), load_model(shipped_folder)
    assert AutoModel.from_pretrained(shipped_folder).dtype == torch.float32
    sizes = [
        (folder / "model.safetensors").stat().st_size for folder in (tmp_path / "perceptual", shipped_folder)
    ]
    assert sizes[1] < 0.6 * sizes[0]
    photo = photos.bsds_photos(root, held_out=True)[0]
    assert torch.allclose(exact.embed_images(photo), shipped.embed_images(photo), atol=2e-3)
    assert torch.allclose(exact.embed_texts("a green wall"), shipped.embed_texts("a green wall"), atol=2e-3)

    monkeypatch.setattr(evaluate, "ODD_ONE_OUT_TRIPLETS", 50)
    figures = evaluate.evaluate(load_model(tmp_path / "perceptual"), root)
    assert len(figures) == len(evaluate.EVALUATED) + 10
    assert all(0 <= value <= 1 for value in figures.values())
    assert {name for names in ablations.COLUMNS.values() for name in names} < figures.keys()


def test_command_runs_and_records_and_resumes(root: Path, views: Path, tmp_path: Path) -> None:
    def train_by_command(*options: str) -> str:
        settings = [part for setting in [*SMALL, "align.steps=2"] for part in ("--set", setting)]
        arguments = ["train", "unisim-mini", "--data", str(root), "--out", str(run), *settings, *options]
        return " ".join(CliRunner().invoke(app, arguments).output.split())

    run = tmp_path / "run"
    shown = train_by_command("--dry-run")
    assert "2 and 2 steps" in shown
    assert not run.exists()
    shutil.copytree(views, run / "views")
    train_by_command()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["data_hash"] in shown
    assert environment["data"][0] == {"dataset": "flickr8k", "photos": 24, "texts": 120, "answers": 0}
    assert json.loads((run / "recipe.json").read_text())["align"]["steps"] == 2
    assert "align step 0: contrast" in (run / "train.log").read_text()
    weights = (run / "model" / "model.safetensors").read_bytes()
    assert "holds a run" in train_by_command()
    assert "of another recipe" in train_by_command("--resume", "--set", "seed=1")
    shutil.rmtree(run / "perceptual")
    shutil.rmtree(run / "model")
    train_by_command("--resume")
    assert (run / "model" / "model.safetensors").read_bytes() == weights
    assert "--set align.steps" in train_by_command("--max-steps", "3")


def test_missing_teacher_is_named(root: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"teachers/mobilenet_v2_1.0_224_quant.tflite, but there is none"
    ):
        train(root, tmp_path, recipe)
    assert not (tmp_path / "views").exists()


def test_weight_of_zero_leaves_a_loss_out(
    root: Path, views: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that differ in the margin alone are the same when no hinge counts, and differ when one does."""
    tokenizer = build_tokenizer(vocabulary_texts(root), recipe)
    read = Views(root, views)
    captions = Captions(root, read)

    def trained(*settings: str) -> list[torch.Tensor]:
        # Enough distortions that each attribute is lost in one of them.
        chosen = read_recipe(overrides=[*SMALL, "perceptual.distortion_batch=24", *settings])
        torch.manual_seed(0)
        model = build_two_towers(MobileNetV2Model.from_pretrained(views / "mobilenet"), tokenizer, chosen)
        with torch.no_grad():
            aligned = aligned_embeddings(model, read)
        train_perceptual(model, tokenizer, root, read, aligned, captions, chosen)
        return [parameter.detach() for parameter in model.parameters()]

    hinges = [f"perceptual.weights.{name}=0" for name in ("material", "similarity", "quality", "attributes")]

    def equal(*settings: str) -> bool:
        # At the first of these margins every triplet is right.
        runs = [trained(f"perceptual.margin={margin}", *settings) for margin in (-2.0, 0.5)]
        return all(torch.equal(*pair) for pair in zip(*runs, strict=True))

    assert equal(*hinges)
    assert not any(equal(*left) for left in itertools.combinations(hinges, 3))


def test_ablations_train_each_row_once_and_mark_what_differs(
    root: Path, views: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(views, tmp_path / "run" / "views")
    train(root, tmp_path / "run", recipe)
    chosen = dataclasses.replace(
        ablations.read_ablations(),
        seeds=(3, 4),
        settings=tuple(SMALL),
        rows={"everything": (), "without quality": ("perceptual.weights.quality=0",)},
    )
    monkeypatch.setattr(evaluate, "ODD_ONE_OUT_TRIPLETS", 50)
    measure = functools.partial(ablations.measure, chosen, root, tmp_path / "run", tmp_path / "out")
    figures = measure()
    assert [(row, len(seeds)) for row, seeds in figures.items()] == [
        (ablations.BASE, 1),
        ("everything", 2),
        ("without quality", 2),
    ]
    export(tmp_path / "run" / "align", tmp_path / "base")
    before = evaluate.evaluate(load_model(tmp_path / "base"), root, share=chosen.share, wording="paper")
    assert figures[ablations.BASE][0] == before
    (tmp_path / "out" / "everything" / "4.json").unlink()
    assert measure() == figures


def test_every_row_of_the_ablations_is_a_recipe() -> None:
    chosen = ablations.read_ablations()
    everything = chosen.of("everything", 0)
    for row in list(chosen.rows)[1:]:
        assert chosen.of(row, 0) != everything
        assert chosen.of(row, 1) == dataclasses.replace(chosen.of(row, 0), seed=1)


def test_interval_against_the_table_of_student() -> None:
    mean, half = interval(np.array([1.0, 2.0, 6.0]))
    assert mean == 3
    assert half == pytest.approx(4.3027 * np.sqrt(7 / 3), rel=1e-4)


def test_table_marks_differences_between_seeds_alike() -> None:
    """A row that is 10 points below at every seed is marked, though its own seeds spread wide."""
    names = {name for names in ablations.COLUMNS.values() for name in names}

    def row(*values: float) -> list[dict[str, float]]:
        return [dict.fromkeys(names, value) for value in values]

    figures = {
        ablations.BASE: row(0.5),
        "everything": row(0.6, 0.7, 0.8),
        "lower": row(0.5, 0.601, 0.699),
        "other": row(0.8, 0.7, 0.6),
    }
    lines = ablations.table(figures).splitlines()
    assert lines[2].split(" | ")[1] == "50.0"
    assert lines[3].split(" | ")[1] == "70.0 ± 24.8"
    assert lines[4].split(" | ")[1].startswith("**60.0 ± ")
    assert lines[5].split(" | ")[1] == "70.0 ± 24.8"


def test_cifar_reader_refuses_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple:
            return (print, ("ran",))

    (tmp_path / "test").write_bytes(pickle.dumps({b"data": Malicious()}))
    with pytest.raises(AnnotationError, match=r"builtins\.print has no place"):
        evaluate.read_cifar100(tmp_path / "test")


@pytest.mark.parametrize("name", DISTORTIONS)
@pytest.mark.parametrize("shape", [(3, 160, 160), (3, 150, 261)])
def test_distortions_grow_with_severity(name: str, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(rng.uniform(0, 255, (1, 3, 40, 40))), shape[-2:], mode="bicubic"
    )[0]
    image = smooth.round().clamp(0, 255).to(torch.uint8)
    distances = []
    for level in LEVELS:
        distorted = DISTORTIONS[name](image, level, np.random.default_rng(1))
        assert distorted.dtype == torch.uint8
        assert distorted.shape == image.shape
        distances.append((distorted.float() - image.float()).square().mean().item())
    assert distances[0] > 0
    assert distances[-1] > distances[0]
    assert np.all(np.diff(distances) >= 0) or np.corrcoef(distances, LEVELS)[0, 1] > 0.9
