"""The recipe of the bundled model, end to end on a tiny data root in the real layout."""

from __future__ import annotations

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
from tiny_mini import BALLPLAYER, COLOURS, KINDS, SETTINGS, tiny_image_tower, write_root, write_towers
from transformers import AutoModel, AutoTokenizer
from typer.testing import CliRunner

from docs.experiments import ablations
from docs.experiments.intervals import interval
from unisim_metrics import load_model
from unisim_metrics.benchmark.datasets.annotations import AnnotationError
from unisim_metrics.cli.app import app
from unisim_metrics.images import load_image
from unisim_metrics.training.distortions import DISTORTIONS, LEVELS
from unisim_metrics.training.mini import evaluate, photos, words
from unisim_metrics.training.mini.activations import PREPARED, read_activations, read_features
from unisim_metrics.training.mini.bridge import (
    SyntheticFeatures,
    class_loss,
    contrastive_losses,
    name_loss,
    train_bridge,
)
from unisim_metrics.training.mini.corpus import Corpus
from unisim_metrics.training.mini.efficientnet import lite2_config, lower, upper
from unisim_metrics.training.mini.export import export
from unisim_metrics.training.mini.ladders import MaterialTriplets, find_ladders
from unisim_metrics.training.mini.minilm import bridge, pooled_tokens
from unisim_metrics.training.mini.perceptual import hinges, train_perceptual
from unisim_metrics.training.mini.recipe import BridgeWeights, Recipe, read_recipe
from unisim_metrics.training.mini.train import prepare, train
from unisim_metrics.training.mini.two_towers import image_embeddings, load
from unisim_metrics.training.mini.views import plan_views, render


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_root(root)
    return root


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe(overrides=SETTINGS)


@pytest.fixture(scope="module")
def run(root: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from tiny towers, with all its stages."""
    folder = tmp_path_factory.mktemp("run")
    write_towers(folder / "towers")
    train(root, folder, recipe, workers=1)
    return folder


@pytest.fixture(scope="module")
def corpus(root: Path, run: Path, recipe: Recipe) -> Corpus:
    return prepare(root, run, recipe)


def test_plan_leaves_out_what_is_held_out(root: Path, recipe: Recipe) -> None:
    planned = {root / view.path for view in plan_views(root, recipe.views, seed=0)}
    assert planned.isdisjoint(photos.flickr8k_captions(root, "dev"))
    assert planned.isdisjoint(photos.tiny_imagenet_labels(root, held_out=True))
    assert planned.isdisjoint(photos.bsds_photos(root, held_out=True))
    for folder in photos.material_images(root):
        held_out = photos.held_out_materials(len(folder))
        assert planned.isdisjoint(folder[index] for index in held_out)
        assert planned.issuperset(folder[index] for index in set(range(len(folder))) - held_out)


def test_plan_is_the_same_for_the_same_seed(root: Path, recipe: Recipe) -> None:
    first, second, other = (plan_views(root, recipe.views, seed) for seed in (0, 0, 1))
    assert first == second != other


def test_views_of_a_group_show_one_crop(root: Path, recipe: Recipe) -> None:
    views = plan_views(root, recipe.views, seed=0)
    kinds = set()
    for group in {view.group for view in views}:
        members = [view for view in views if view.group == group]
        assert len({(view.path, view.crop, view.mirrored) for view in members}) == 1
        assert sum(view.coarse is None and view.distortion is None for view in members) == 1
        kinds.add((any(view.coarse for view in members), any(view.distortion for view in members)))
    assert kinds == {(False, False), (True, False), (False, True)}


def test_rendering_against_numpy(root: Path, recipe: Recipe) -> None:
    views = plan_views(root, recipe.views, seed=0)
    for view in views[:: len(views) // 40]:
        photo = load_image(root / view.path)
        shown = render(view, photo)
        if view.coarse:
            side = min(view.coarse, view.crop[2] if view.crop else photo.shape[-1])
            assert shown.shape[1:] == (side, side)
        elif view.distortion is None:
            top, left, side = view.crop or (0, 0, None)
            bottom, right = (None, None) if side is None else (top + side, left + side)
            expected = photo.numpy()[:, top:bottom, left:right]
            assert np.array_equal(shown.numpy(), expected[..., ::-1] if view.mirrored else expected)


def test_material_triplets_keep_to_their_materials(root: Path) -> None:
    held_out = photos.held_out_materials(40)
    triplets = photos.material_triplets(root, held_out)
    answers = json.loads((root / "material-2afc" / "answers_train.json").read_text())["answers_diff"]
    expected = [answer for answer in answers if all(index in held_out for index in answer)]
    assert [[t.reference, t.closer, t.farther] for t in triplets] == expected
    assert 0 < len(expected) < len(answers)


def test_material_triplets_are_rows_of_one_light(root: Path, recipe: Recipe) -> None:
    views = plan_views(root, recipe.views, seed=0)
    materials = MaterialTriplets(root, views)
    answers = {dataclasses.astuple(answer) for answer in materials.answers}
    for triplet in materials.draw(20, np.random.default_rng(0)):
        paths = [Path(views[row].path) for row in triplet]
        assert len({path.parent for path in paths}) == 1
        assert tuple(int(path.stem[1:]) for path in paths) in answers


def test_ladders_grow_in_damage(root: Path, recipe: Recipe) -> None:
    views = plan_views(root, recipe.views, seed=0)
    ladders = find_ladders(views)
    assert len(ladders) == recipe.views.ladders * recipe.views.distortions
    for ladder in ladders:
        members = [views[row] for row in ladder.rows]
        assert members[0].distortion is None
        assert {view.distortion for view in members[1:]} == {ladder.distortion}
        assert all(np.diff([view.severity for view in members]) > 0)
        assert len({view.group for view in members}) == 1


def test_contrastive_losses_against_numpy() -> None:
    rng = np.random.default_rng(0)
    images, texts = (
        x / np.linalg.norm(x, axis=1, keepdims=True)
        for x in (rng.normal(size=(5, 7)), rng.normal(size=(4, 7)))
    )
    matches = np.array([0, 1, 2, 1, 3])[:, None] == np.array([0, 1, 2, 3])[None]
    logits = images @ texts.T / 0.1

    def cross_entropy(z: np.ndarray, match: np.ndarray) -> float:
        target = match / match.sum(1, keepdims=True)
        return float(-(target * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1).mean())

    losses = contrastive_losses(torch.tensor(images), torch.tensor(texts), torch.tensor(matches), 0.1)
    expected = [cross_entropy(logits, matches), cross_entropy(logits.T, matches.T)]
    assert [loss.item() for loss in losses] == pytest.approx(expected, abs=1e-9)


def test_class_loss_against_numpy() -> None:
    rng = np.random.default_rng(0)
    images, texts, target = (
        rng.normal(size=(3, 4)),
        rng.normal(size=(5, 4)),
        rng.dirichlet(np.ones(5), size=3),
    )
    logits = images @ texts.T * 2.0
    expected = -(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()
    loss = class_loss(*(torch.tensor(part) for part in (images, texts, target)), torch.tensor(2.0))
    assert loss.item() == pytest.approx(expected)


def test_name_loss_against_numpy() -> None:
    rng = np.random.default_rng(0)
    images, texts, target = (
        rng.normal(size=(3, 4)),
        rng.normal(size=(5, 4)),
        rng.dirichlet(np.ones(5), size=3),
    )
    logits = images @ texts.T * 2.0
    chosen = logits - np.log(np.exp(logits).sum(0))
    each = -(target / target.sum(0) * chosen).sum(0)
    expected = np.average(each, weights=target.sum(0))
    loss = name_loss(*(torch.tensor(part) for part in (images, texts, target)), torch.tensor(2.0))
    assert loss.item() == pytest.approx(expected)


def test_hinges_against_numpy() -> None:
    """On embeddings that are orthogonal or equal, so that each pair is either right by 1, or costs the margin."""
    one, other = torch.eye(2)
    from unisim_metrics.training.mini.corpus import prompt_texts

    prompts = {text: one for text in prompt_texts()}
    ladder = torch.stack([one, one, other, other])[None]
    losses = hinges(torch.stack([one, one, other])[None], ladder, ["blur"], prompts, margin=0.5)
    assert losses["material"].item() == 0
    # Of the six pairs of four scores 1, 1, 0, 0 two are ties; of the three distances 1, 0, 0 one is.
    assert losses["similarity"].item() == pytest.approx(0.5 / 3)
    naive, antonyms = 2 / 6 * 0.5, 0.5
    assert losses["quality"].item() == pytest.approx((naive + 0 + antonyms + antonyms) / 4)
    assert losses["attributes"].item() == pytest.approx((naive + antonyms) / 2)
    assert hinges(ladder[:, :3], ladder, ["noise"], prompts, 0.5)["attributes"].item() == 0


def test_lower_and_upper_are_the_tower() -> None:
    tower = tiny_image_tower()
    with torch.no_grad():
        for module in tower.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for values in (module.weight, module.bias, module.running_mean):
                    values.normal_()
                module.running_var.uniform_(0.5, 2)
        pixels = torch.randn(2, 3, 224, 224)
        expected = tower(pixels).pooler_output
        for blocks in range(5):
            assert torch.allclose(upper(tower, lower(tower, pixels, blocks), blocks), expected, atol=1e-4)


def test_lite2_is_of_the_published_widths() -> None:
    """Parameters of EfficientNet-Lite2 without its classifier: 6.09 M in all, 1.28 M of them there."""
    from transformers import EfficientNetModel

    with torch.device("meta"):
        model = EfficientNetModel(lite2_config())
    counted = sum(
        parameter.numel() for name, parameter in model.named_parameters() if "squeeze_excite" not in name
    )
    assert counted == 6_092_072 - 1_281_000


def test_activations_and_features_are_the_tower_s(root: Path, run: Path) -> None:
    from transformers import EfficientNetModel

    from unisim_metrics.images import preprocess
    from unisim_metrics.training.mini.views import read_plan

    views = read_plan(run / "views")
    rows = [3, 20, len(views) - 1]
    tower = EfficientNetModel.from_pretrained(run / "towers" / "image").eval()
    pixels = preprocess([render(views[row], load_image(root / views[row].path)) for row in rows], PREPARED)
    with torch.no_grad():
        assert np.allclose(read_activations(run / "views")[rows], lower(tower, pixels, 3), atol=0.02)
        assert torch.allclose(read_features(run / "views")[rows], tower(pixels).pooler_output, atol=0.01)


def test_bridge_is_the_text_tower(run: Path) -> None:
    """The seventh layer pools as a mean under the mask: what the bridge makes of that is the model's embedding."""
    model, tokenizer = load(run / "perceptual")
    texts = ["a green wall", "", "x", "an unseen wörd 😀 7! " * 3]
    plain = AutoModel.from_pretrained(run / "towers" / "minilm")
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = plain(**tokens).last_hidden_state.numpy()
        mask = tokens["attention_mask"].numpy()[:, :, None]
        mean = (hidden * mask).sum(1) / mask.sum(1)
        mean = (mean - mean.mean(1, keepdims=True)) / mean.std(1, keepdims=True)
        # In the model the first token's own state is still there, a thousandth of it.
        first = pooled_tokens(AutoModel.from_pretrained(run / "towers" / "text").eval(), tokenizer, texts)
        assert np.allclose(first, mean, atol=0.02)
        embedded = torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)
        assert torch.allclose(bridge(model, first), embedded, atol=1e-5)
        alone = tokenizer(texts[:1], return_tensors="pt")
        alone = torch.nn.functional.normalize(model.get_text_features(**alone).pooler_output, dim=-1)
        assert torch.allclose(alone, embedded[:1], atol=1e-5)


def test_every_character_is_read(run: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    known = AutoTokenizer.from_pretrained(run / "towers" / "minilm")
    assert tokenizer("A green wall, it’s 50%")["input_ids"] == known("A green wall, it’s 50%")["input_ids"]
    for character in "😀→½猫한\u200b\ue000":
        cat, dog = (tokenizer(f"a photo {character}{word}")["input_ids"] for word in ("cat", "dog"))
        assert cat[:-4] == dog[:-4] and cat != dog
    grinning = tokenizer("grinning face cat")["input_ids"]
    assert tokenizer("😀cat")["input_ids"] == grinning == tokenizer("a😀cat")["input_ids"][:1] + grinning[1:]
    assert len(tokenizer("word " * 100, truncation=True)["input_ids"]) == 32


def test_kinds_are_the_hypernyms(root: Path) -> None:
    kinds = words.kinds(root / "wordnet" / "data.noun")
    assert [kind.names for kind in kinds] == [(f"kind {kind}", f"sort {kind}") for kind in range(KINDS)]
    assert [kind.classes for kind in kinds] == [tuple(range(kind, 1000, KINDS)) for kind in range(KINDS)]
    assert kinds[0].gloss == "kind number 0"


def test_people_are_what_is_below_a_person(root: Path) -> None:
    assert words.people(root / "wordnet" / "data.noun") == [f"n{words.PERSON}", BALLPLAYER]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A Man in red .", True),
        ("Two boys, one ball", True),
        ("woman", True),
        ("a mandolin", False),
        ("a snowman", False),
        ("", False),
    ],
)
def test_captions_say_people_by_whole_words(caption: str, expected: bool) -> None:
    assert words.says_people(caption) == expected


def test_photos_of_people_are_those_whose_captions_say_so(root: Path, corpus: Corpus) -> None:
    said = {
        path.relative_to(root).as_posix(): any(" man " in text for text in five)
        for path, five in photos.flickr8k_captions(root, "train").items()
    }
    rows = [row for row, view in enumerate(corpus.views) if view.path in said and not view.distortion]
    assert corpus.show_people(np.array(rows)).tolist() == [said[corpus.views[row].path] for row in rows]
    assert {corpus.views[row].path.split("/")[0] for row in corpus.things} == {"tiny-imagenet-60"}
    texts = {text for text, row in corpus.bank.rows_by_text.items() if row in corpus.people_rows}
    assert "a photo of a ballplayer." in texts and all("ball" in text for text in texts)


def test_name_loss_without_anything_to_name() -> None:
    images = torch.eye(3).requires_grad_()
    loss = name_loss(images, torch.eye(3), torch.zeros(3, 3), torch.tensor(20.0))
    loss.backward()
    assert loss.item() == 0 and not images.grad.any()


def test_classes_have_names_synonyms_and_glosses() -> None:
    classes = words.imagenet_classes()
    assert len(classes) == 1000
    assert classes[134].names == ("crane bird", "crane")
    assert classes[0].texts()[0] == "a photo of a tench."
    assert classes[0].gloss.startswith("freshwater dace-like game fish")


def test_synthetic_features_lie_on_their_class(corpus: Corpus) -> None:
    synthetic = SyntheticFeatures(corpus.features, corpus.classifier[0])
    drawn = synthetic.draw(np.repeat(7, 500), np.random.default_rng(0))
    assert drawn.shape == (500, 1280) and drawn.min() >= 0
    towards = drawn.mean(dim=0) - synthetic.mean
    assert torch.nn.functional.cosine_similarity(towards, synthetic.prototypes[7], dim=0) > 0.5


def test_meaning_of_a_photo_is_that_of_its_captions(root: Path, corpus: Corpus) -> None:
    pooled = corpus.bank.pooled.numpy()
    meanings = pooled - pooled.mean(axis=0)
    meanings /= np.linalg.norm(meanings, axis=1, keepdims=True)
    for path, captions in photos.flickr8k_captions(root, "train").items():
        name = path.relative_to(root).as_posix()
        rows = [row for row, view in enumerate(corpus.views) if view.path == name and not view.distortion]
        expected = meanings[[corpus.bank.rows_by_text[text] for text in captions]].mean(axis=0)
        found = corpus.caption_meanings(np.array(rows)).numpy()
        np.testing.assert_allclose(
            found, np.tile(expected / np.linalg.norm(expected), (len(rows), 1)), atol=1e-5
        )


def test_bridge_learns_to_name_colours(root: Path, run: Path, corpus: Corpus) -> None:
    model, tokenizer = load(run / "bridge")
    others = [field.name for field in dataclasses.fields(BridgeWeights) if field.name != "captions"]
    left_out = [f"bridge.weights.{name}=0" for name in others]
    train_bridge(model, corpus, read_recipe(overrides=[*SETTINGS, *left_out, "bridge.steps=100"]))
    texts = pooled_tokens(
        AutoModel.from_pretrained(run / "towers" / "text").eval(),
        tokenizer,
        [f"A {name} wall" for name in COLOURS],
    )
    captions = {
        path.relative_to(root).as_posix(): five[0]
        for path, five in photos.flickr8k_captions(root, "train").items()
    }
    rows = [row for row, view in enumerate(corpus.views) if view.path in captions and not view.distortion]
    with torch.no_grad():
        scores = image_embeddings(model, corpus.features[rows]) @ bridge(model, texts).T
    named = [list(COLOURS)[index] for index in scores.argmax(dim=-1).tolist()]
    right = [name in captions[corpus.views[row].path] for name, row in zip(named, rows, strict=True)]
    assert np.mean(right) > 0.9


def test_recipe_ends_in_a_model_that_loads_and_scores(
    root: Path, run: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = load(run / "bridge")
    trained, _ = load(run / "perceptual")
    moved = {
        name
        for (name, first), second in zip(
            before.state_dict().items(), trained.state_dict().values(), strict=True
        )
        if not torch.equal(first, second)
    }
    assert {name.split(".")[0] for name in moved} == {
        "vision_model",
        "visual_projection",
        "text_model",
        "text_projection",
    }
    frozen = (
        "embeddings.",
        "blocks.0.",
        "running_",
        "squeeze_excite",
        "encoder.layer.0.",
        "layer.1.attention",
    )
    assert not [name for name in moved if any(part in name for part in frozen)]
    written = (run / "perceptual" / "model.safetensors").stat().st_mtime_ns
    assert train(root, run, recipe) == run / "model"
    assert (run / "perceptual" / "model.safetensors").stat().st_mtime_ns == written

    exact, shipped = load_model(run / "perceptual"), load_model(run / "model")
    assert AutoModel.from_pretrained(run / "model").dtype == torch.float32
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (run / "perceptual", run / "model")]
    assert sizes[1] < 0.6 * sizes[0]
    photo = photos.bsds_photos(root, held_out=True)[0]
    assert torch.allclose(exact.embed_images(photo), shipped.embed_images(photo), atol=2e-3)
    assert torch.allclose(exact.embed_texts("a green wall"), shipped.embed_texts("a green wall"), atol=2e-3)

    monkeypatch.setattr(evaluate, "ODD_ONE_OUT_TRIPLETS", 50)
    figures = evaluate.evaluate(shipped, root)
    assert all(
        0 <= judged.interval()[0] <= judged.share <= judged.interval()[1] <= 1 for judged in figures.values()
    )
    assert {name for names in ablations.COLUMNS.values() for name in names} < figures.keys()
    assert len(figures["photograph of a prompt among 24"].right) == 60
    assert len(figures["texts told apart after an unusual character"].right) == 200
    lines = evaluate.table({"mini": figures}).splitlines()
    assert len(lines) == len(figures) + 2


def test_interval_draws_whole_groups() -> None:
    """Ten groups of ten equal judgments are as uncertain as ten judgments."""
    right = np.repeat([1, 0, 1, 1, 0, 1, 1, 1, 0, 1], 10).astype(bool)
    low, high = evaluate.Judgments(right, np.repeat(np.arange(10), 10)).interval()
    alone = evaluate.Judgments(right[::10], np.arange(10)).interval()
    assert (low, high) == alone
    assert high - low > 0.4


def test_command_runs_and_records_and_resumes(root: Path, run: Path, tmp_path: Path) -> None:
    def train_by_command(*options: str) -> str:
        settings = [part for setting in [*SETTINGS, "bridge.steps=2"] for part in ("--set", setting)]
        arguments = ["train", "unisim-mini", "--root", str(root), "--output", str(own), *settings, *options]
        return " ".join(CliRunner().invoke(app, arguments).output.split())

    own = tmp_path / "run"
    shown = train_by_command("--dry-run")
    assert "2 and 2 steps" in shown
    assert not own.exists()
    for part in ("towers", "views", "texts"):
        shutil.copytree(run / part, own / part)
    train_by_command()
    environment = json.loads((own / "environment.json").read_text())
    assert environment["data_hash"] in shown
    assert environment["data"][0] == {"dataset": "flickr8k", "photos": 24, "texts": 120, "answers": 0}
    assert json.loads((own / "recipe.json").read_text())["bridge"]["steps"] == 2
    assert "bridge step 0: captions" in (own / "train.log").read_text()
    weights = (own / "model" / "model.safetensors").read_bytes()
    assert "holds a run" in train_by_command()
    assert "of another recipe" in train_by_command("--resume", "--set", "seed=1")
    shutil.rmtree(own / "perceptual")
    shutil.rmtree(own / "model")
    train_by_command("--resume")
    assert (own / "model" / "model.safetensors").read_bytes() == weights
    assert "--set bridge.steps" in train_by_command("--max-steps", "3")


def test_what_is_missing_is_named(root: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"wordnet/data.noun, but there are none.*wordnet-base"):
        train(tmp_path, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_weight_of_zero_leaves_a_loss_out(root: Path, run: Path, corpus: Corpus) -> None:
    """Two runs that differ in the margin alone are the same when no hinge counts, and differ when one does."""
    ladders, materials = find_ladders(corpus.views), MaterialTriplets(root, corpus.views)
    activations = read_activations(run / "views")

    def trained(*settings: str) -> list[torch.Tensor]:
        # Enough ladders that each attribute is lost in one of them.
        chosen = read_recipe(overrides=[*SETTINGS, "perceptual.ladder_batch=16", *settings])
        model, _ = load(run / "bridge")
        train_perceptual(model, corpus, activations, ladders, materials, chosen)
        return [parameter.detach() for parameter in model.parameters()]

    weights = [f"perceptual.weights.{name}=0" for name in ("material", "similarity", "quality", "attributes")]

    def equal(*settings: str) -> bool:
        # At the first of these margins every triplet is right.
        runs = [trained(f"perceptual.margin={margin}", *settings) for margin in (-2.0, 0.5)]
        return all(torch.equal(*pair) for pair in zip(*runs, strict=True))

    assert equal(*weights)
    assert not any(equal(*left) for left in itertools.combinations(weights, 3))


def test_ablations_train_each_row_once_and_mark_what_differs(
    root: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = dataclasses.replace(
        ablations.read_ablations(),
        seeds=(3, 4),
        settings=tuple(SETTINGS),
        rows={"everything": (), "without quality": ("perceptual.weights.quality=0",)},
    )
    monkeypatch.setattr(evaluate, "ODD_ONE_OUT_TRIPLETS", 50)
    measure = functools.partial(ablations.measure, chosen, root, run, tmp_path / "out")
    figures = measure()
    assert [(row, len(seeds)) for row, seeds in figures.items()] == [
        (ablations.BASE, 1),
        ("everything", 2),
        ("without quality", 2),
    ]
    export(run / "bridge", tmp_path / "base")
    before = evaluate.evaluate(load_model(tmp_path / "base"), root, share=chosen.share)
    assert figures[ablations.BASE][0] == {name: judged.share for name, judged in before.items()}
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
        evaluate.read_cifar100(tmp_path)


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
