"""The paper's baselines by name: prepared as in the runs that made its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from pillow_processors import CLIPImageProcessorPil
from transformers import CLIPModel, CLIPTokenizer

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.models import loading

# Resized to a short side of 32, their margins are odd: half a pixel is rounded one way or the other.
SIZES = ((64, 43), (43, 64), (48, 39), (39, 51), (65, 32), (32, 33))


def photo(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def from_hub(tiny_clip_dir: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was fetched from the Hub, in place of which stands a tiny model."""
    fetched: list[str] = []

    def fetch(source: str, *_: Any, **__: Any) -> Path:
        fetched.append(source)
        return tiny_clip_dir

    monkeypatch.setattr(loading, "fetch_snapshot", fetch)
    return fetched


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("clip-vit-b-32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("clip-vit-h-14", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    ],
)
def test_baselines_of_laion_crop_as_open_clip_does(
    name: str, source: str, from_hub: list[str], tiny_clip_dir: Path
) -> None:
    model: Any = load_model(name, resample="pil")
    assert from_hub == [source]
    assert model.input_tag == "32-pil-round"
    photos = [photo(*size) for size in SIZES]
    transform = open_clip.image_transform(32, is_train=False)
    pixels = torch.stack([transform(image) for image in photos])
    with torch.no_grad():
        features = model.backbone.get_image_features(pixel_values=pixels).pooler_output
    expected = features / features.norm(dim=-1, keepdim=True)
    assert (model.embed_images(photos) - expected).abs().max() <= 1e-5
    # Transformers' own crop is another one: these sizes tell them apart.
    plain: Any = load_model(tiny_clip_dir, resample="pil")
    assert (plain.embed_images(photos) - expected).abs().max() > 1e-3


def test_the_large_one_is_prepared_by_transformers(from_hub: list[str]) -> None:
    assert load_model("clip-vit-l-14-336").input_tag == "32-bicubic"
    assert from_hub == ["openai/clip-vit-large-patch14-336"]


def test_pickscore_is_a_clip_of_transformers(from_hub: list[str], tiny_clip_dir: Path) -> None:
    model: Any = load_model("pickscore", resample="pil")
    assert from_hub == ["yuvalkirstain/PickScore_v1"]
    photos = [photo(*size) for size in SIZES]
    texts = [f"a photo of a red dog {width}" for width, _ in SIZES]
    # The authors' own code: the logits of `CLIPModel`, with the processor of transformers.
    judge = CLIPModel.from_pretrained(tiny_clip_dir).eval()
    pixels = CLIPImageProcessorPil.from_pretrained(tiny_clip_dir)(photos, return_tensors="pt")
    tokens = CLIPTokenizer.from_pretrained(tiny_clip_dir)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = judge(**pixels, **tokens).logits_per_image.diagonal()
    scores = UniSimScore(model, reduction="none")(photos, texts)
    np.testing.assert_allclose(scores * judge.logit_scale.exp().item(), logits, rtol=1e-5, atol=1e-5)


def test_preprocessing_of_the_callers_own_stays(from_hub: list[str]) -> None:
    own = load_model("clip-vit-l-14-336").preprocessing  # type: ignore[attr-defined]
    assert load_model("clip-vit-b-32", preprocessing=own).preprocessing == own  # type: ignore[attr-defined]
