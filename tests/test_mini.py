"""The recipe of the bundled model, end to end on a tiny data root in the real layout."""

from __future__ import annotations

import csv
import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer, CLIPVisionModelWithProjection

from unisim_metrics import load_model
from unisim_metrics.training.distortions import DISTORTIONS, LEVELS
from unisim_metrics.training.mini import evaluate, photos, teacher
from unisim_metrics.training.mini.align import Captions, align, contrastive_loss
from unisim_metrics.training.mini.export import export
from unisim_metrics.training.mini.recipe import DistillPhase, Recipe, read_recipe
from unisim_metrics.training.mini.student import build_student, build_tokenizer, text_embeddings, tokenize
from unisim_metrics.training.mini.train import train, vocabulary_texts
from unisim_metrics.training.mini.views import Views

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
    recipe = read_recipe()
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    distill_phases = (DistillPhase(64, 2, 4, 1e-3, 1), DistillPhase(112, 2, 4, 1e-3, 1))
    step = {"steps": 2, "caption_batch": 6, "material_batch": 2, "distortion_batch": 3}
    perceptual_phases = tuple(dataclasses.replace(phase, **step) for phase in recipe.perceptual.phases)
    return dataclasses.replace(
        recipe,
        tokenizer={"vocab_size": 400, "context_length": 16},
        vision={**recipe.vision, **small},
        text=small,
        projection_dim=16,
        align=dataclasses.replace(recipe.align, steps=60, batch_size=12, learning_rate=5e-3, warmup_steps=5),
        distill=dataclasses.replace(recipe.distill, phases=distill_phases),
        perceptual=dataclasses.replace(recipe.perceptual, phases=perceptual_phases),
    )


@pytest.fixture(scope="module")
def views(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views in the format that `teacher.py` writes, with the mean colour of each cell as its features."""
    folder = tmp_path_factory.mktemp("views")
    plan = teacher.plan_views(root, views=2, bsds_views=2, seed=0)
    pixels = np.stack(
        [np.asarray(teacher.square(view, teacher.VIEW_SIZE)).transpose(2, 0, 1) for view in plan]
    )
    cells = pixels.reshape(len(plan), 3, 7, 16, 7, 16).mean(axis=(3, 5)).transpose(0, 2, 3, 1)
    np.save(folder / "pixels.npy", pixels)
    np.save(folder / "grids.npy", np.tile(cells, 4).astype(np.uint8))
    np.save(folder / "logits.npy", np.random.default_rng(0).normal(size=(len(plan), 9)).astype(np.float16))
    np.save(folder / "paths.npy", np.array([str(view.path.relative_to(root)) for view in plan]))
    return folder


def test_plan_leaves_out_what_is_held_out(root: Path) -> None:
    planned = {view.path for view in teacher.plan_views(root, views=2, bsds_views=2, seed=0)}
    assert planned.isdisjoint(photos.flickr8k_captions(root, "dev"))
    assert planned.isdisjoint(photos.bsds_photos(root, held_out=True))
    for folder in photos.material_images(root):
        held_out = photos.held_out_materials(len(folder))
        assert planned.isdisjoint(folder[index] for index in held_out)
        assert planned.issuperset(folder[index] for index in set(range(len(folder))) - held_out)


def test_plan_is_the_same_for_the_same_seed(root: Path) -> None:
    first, second, other = (teacher.plan_views(root, 2, 2, seed) for seed in (0, 0, 1))
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


def test_contrastive_loss_against_numpy() -> None:
    rng = np.random.default_rng(0)
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(2, 5, 7)))
    labels = np.array([0, 1, 2, 1, 3])
    matches = labels[:, None] == labels[None]
    logits = images @ texts.T / 0.1
    target = matches / matches.sum(1, keepdims=True)

    def cross_entropy(z: np.ndarray) -> float:
        return float(-(target * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1).mean())

    expected = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    loss = contrastive_loss(torch.tensor(images), torch.tensor(texts), torch.tensor(matches), 0.1)
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_text_tower_learns_to_name_colours(root: Path, views: Path, recipe: Recipe) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(vocabulary_texts(root), recipe)
    model = build_student(tokenizer, recipe)
    read = Views(views)
    aligned = align(model, tokenizer, read, Captions(root, read), recipe)
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
    train(root, views, tmp_path, recipe)
    assert CLIPModel.from_pretrained(tmp_path / "perceptual").config.vision_config.image_size == 112
    before = (tmp_path / "perceptual" / "model.safetensors").stat().st_mtime_ns
    train(root, views, tmp_path, recipe)
    assert (tmp_path / "perceptual" / "model.safetensors").stat().st_mtime_ns == before

    export(tmp_path / "perceptual", tmp_path / "shipped")
    exact, shipped = load_model(tmp_path / "perceptual"), load_model(tmp_path / "shipped")
    assert CLIPVisionModelWithProjection.from_pretrained(tmp_path / "shipped").dtype == torch.float32
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("perceptual", "shipped")]
    assert sizes[1] < 0.6 * sizes[0]
    photo = photos.bsds_photos(root, held_out=True)[0]
    assert torch.allclose(exact.embed_images(photo), shipped.embed_images(photo), atol=2e-3)
    assert torch.allclose(exact.embed_texts("a green wall"), shipped.embed_texts("a green wall"), atol=2e-3)

    monkeypatch.setattr(evaluate, "ODD_ONE_OUT_TRIPLETS", 50)
    figures = evaluate.evaluate(load_model(tmp_path / "perceptual"), root)
    assert len(figures) == len(evaluate.EVALUATED) + 6
    assert all(0 <= value <= 1 for value in figures.values())


def test_cifar_reader_refuses_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple:
            return (print, ("ran",))

    (tmp_path / "test").write_bytes(pickle.dumps({b"data": Malicious()}))
    with pytest.raises(pickle.UnpicklingError, match="no place in a CIFAR file"):
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
