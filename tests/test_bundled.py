"""The bundled model: there without a network, small, plain, and of use on real photographs."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFilter
from skimage import data

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore, list_models, load_model

FOLDER = Path(str(resources.files("unisim_metrics"))) / "assets" / "unisim-mini"

# The public face, as the README shows it, in a process that cannot open a socket and is told every warning.
PUBLIC_FACE = """
import socket, warnings
warnings.simplefilter("always")
def refuse(*args, **kwargs):
    raise OSError("no network")
socket.socket.connect = refuse
import torch
from unisim_metrics import UniSimScore, UniSimRanking, UniSimLoss, load_model, list_models
images = torch.rand(2, 3, 96, 128)
originals = torch.rand(2, 3, 120, 100)
prompts = captions = ["a dog on the grass", "two children in the snow"]
candidates = torch.rand(2, 3, 3, 96, 96)

metric = UniSimScore()
metric.update(images, prompts)
print(metric.compute().item(), metric.signature)
UniSimScore()(images, originals)
UniSimScore()(captions, images)
UniSimScore()(images)
UniSimScore(task="brightness")(images)
assert UniSimScore(reduction="none")(images, prompts).shape == (2,)
ranking = UniSimRanking()
ranking.update(candidates, prompts)
assert set(ranking.compute()) == {"win_rate", "mean_rank", "win_matrix"}
model = load_model("unisim-mini")
assert model.embed_images(images).shape == model.embed_texts(captions).shape
assert model.compare(prompts, candidates).shape == (2, 3)
"""


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [
        Image.fromarray(photo) for photo in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    ]


@pytest.fixture(scope="module")
def public_face() -> subprocess.CompletedProcess[str]:
    """What came of the public face in a process of its own."""
    return subprocess.run([sys.executable, "-c", PUBLIC_FACE], capture_output=True, text=True, timeout=300)


def test_public_face_runs_without_a_network(public_face: subprocess.CompletedProcess[str]) -> None:
    assert public_face.returncode == 0, public_face.stderr
    assert f"|task:image-text|input:{load_model().input_tag}|v:" in public_face.stdout


def test_it_is_small_and_documented() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 65_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert load_model().weights_hash()[:12] in card
    assert "research use only" in card
    assert list_models()[0] == "unisim-mini"


def test_plain_transformers_reads_it(photos: list[Image.Image]) -> None:
    import transformers
    from oracle import features_of
    from packaging.version import Version
    from pillow_processors import CLIPImageProcessorPil
    from transformers import AutoModel, AutoTokenizer

    if Version(transformers.__version__) < Version("5"):
        pytest.skip("transformers before 5 hands EfficientNet arguments that it does not take")

    plain, tokenizer = AutoModel.from_pretrained(FOLDER), AutoTokenizer.from_pretrained(FOLDER)
    assert plain.dtype == torch.float32
    pixels = CLIPImageProcessorPil.from_pretrained(FOLDER)(photos, return_tensors="pt")["pixel_values"]
    tokens = tokenizer(["a cat", "a cup of coffee"], padding=True, return_tensors="pt")
    with torch.no_grad():
        images = features_of(plain.get_image_features(pixel_values=pixels))
        texts = features_of(plain.get_text_features(**tokens))
    model = load_model()
    expected_images = torch.nn.functional.normalize(images, dim=-1)
    expected_texts = torch.nn.functional.normalize(texts, dim=-1)
    assert (model.embed_images(photos) - expected_images).abs().max() <= 1e-6
    assert (model.embed_texts(["a cat", "a cup of coffee"]) - expected_texts).abs().max() <= 1e-6


@pytest.mark.parametrize("symbol", ["😀", "➜", "≠", "☂", "🐕"])
def test_it_reads_symbols_by_their_names(symbol: str) -> None:
    model = load_model()
    name = unicodedata.name(symbol).lower().replace("-", " ")
    written, spelt = (model.tokenize([f"a{sign}dog"])["input_ids"] for sign in (symbol, f" {name} "))
    assert model.tokenizer.unk_token_id not in spelt
    assert torch.equal(written, spelt)


def test_an_unknown_character_costs_no_other() -> None:
    model = load_model()
    tokens = model.tokenizer.convert_ids_to_tokens(model.tokenize(["dog𓀀cat café"])["input_ids"][0])
    assert tokens == ["[CLS]", "dog", "[UNK]", "cat", "cafe", "[SEP]"]


def test_milder_damage_is_nearer(photos: list[Image.Image]) -> None:
    ranking = UniSimRanking()
    damaged = [[photo.filter(ImageFilter.GaussianBlur(sigma)) for sigma in (2, 5, 9)] for photo in photos]
    ranking.update(damaged, photos)
    assert ranking.compute()["mean_rank"].tolist() == [1.0, 2.0, 3.0]


def test_blur_costs_quality_and_sharpness(photos: list[Image.Image]) -> None:
    pairs = [[photo, photo.filter(ImageFilter.GaussianBlur(6))] for photo in photos]
    for task in ("quality", "sharpness"):
        ranking = UniSimRanking(task=task)
        ranking.update(pairs, choices=[0] * len(pairs))
        assert ranking.compute()["accuracy"] == 1.0


def test_loss_reaches_pixels(photos: list[Image.Image]) -> None:
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    UniSimLoss()(image, "a cat").backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_warning_is_given_once_a_process(public_face: subprocess.CompletedProcess[str]) -> None:
    assert public_face.stderr.count("unisim-mini` is small") == 1, public_face.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UniSimScore(load_model("unisim-mini"))


def test_configurations_name_no_place_of_the_machine_that_trained_them() -> None:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from texts(item)

    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        content = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        assert not [text for text in texts(content) if text.startswith("/") and len(text) > 1]
