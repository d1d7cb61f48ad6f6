"""LIQE from a file in its published layout, against transformers' CLIP on windows cut by hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from clip_files import PlainCLIP, normalised, random_weights
from PIL import Image

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models import published

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "head_width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
# Width and height: as they are, few windows, small, large; odd sides and thin ones.
SIZES = ((512, 384), (312, 320), (256, 256), (1024, 768), (300, 150), (289, 311), (333, 451), (1031, 777))
QUALITIES = ["bad", "poor", "fair", "good", "perfect"]
SCENES = ["animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others"]
DISTORTIONS = [
    *("jpeg2000 compression", "jpeg compression", "noise", "blur", "color", "contrast"),
    *("overexposure", "underexposure", "spatial", "quantization", "other"),
]


def photo(width: int, height: int) -> Image.Image:
    rough = np.random.default_rng(width).integers(0, 256, (height // 9, width // 9, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)


PHOTOS = [photo(*size) for size in SIZES]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_file(tmp_path, monkeypatch)


def write_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published file, tiny."""
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: TINY)
    weights = {f"clip_model.{name}": value for name, value in weights_of_clip().items()}
    torch.save({"params": weights}, folder / "liqe_mix.pt")
    return folder / "liqe_mix.pt"


def weights_of_clip() -> dict[str, torch.Tensor]:
    weights = random_weights(TINY)
    return weights | {"logit_scale": torch.tensor(2.0).half()}


def windows(image: Image.Image) -> torch.Tensor:
    """Up to 15 windows of 224 px, normalised."""
    short, long = min(image.size), max(image.size)
    target = 768 if short >= 768 else 384 if long <= 288 or short <= 311 else None
    if target is not None:
        width, height = (target if side == short else int(target * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    step = 48 if max(image.size) >= 1024 else 32
    corners = [
        (left, top)
        for top in range(0, image.height - 223, step)
        for left in range(0, image.width - 223, step)
    ]
    stride = max(1, len(corners) // 15)
    chosen = corners[::stride][:15]
    return torch.stack([normalised(image.crop((x, y, x + 224, y + 224))) for x, y in chosen])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def by_hand(photos: list[Image.Image], captions: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings of photos, their embeddings, and those of captions."""
    plain = PlainCLIP(weights_of_clip(), TINY)
    texts = plain.texts(
        [
            f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
            for quality, scene, distortion in product(QUALITIES, SCENES, DISTORTIONS)
        ]
    )
    assert len(texts) == 495
    ratings, means = [], []
    for part in map(windows, photos):
        logits = np.exp(2.0) * (plain.images(part) @ texts.T).mean(axis=0)
        ratings.append(softmax(logits).reshape(5, -1).sum(axis=1) @ np.arange(1, 6))
        with torch.no_grad():
            raw = plain.model.get_image_features(pixel_values=part).pooler_output.double().mean(dim=0)
        means.append((raw / raw.norm()).numpy())
    return np.array(ratings), np.stack(means), plain.texts(captions)


def test_ratings_and_similarities(file: Path) -> None:
    published.tell_terms.cache_clear()
    with pytest.warns(UserWarning, match="`liqe`: CC BY-NC-SA"):
        model: Any = load_model(f"liqe:{file}")
    assert [len(windows(image)) for image in PHOTOS] == [15, 12, 15, 15, 15, 15, 15, 15]
    captions = [f"a photo of a dog, number {index}" for index in range(len(PHOTOS))]
    expected, means, texts = by_hand(PHOTOS, captions)
    found = UniSimScore(model, reduction="none")(PHOTOS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(set(found.tolist())) == len(PHOTOS) and 1 < expected.min() < expected.max() < 5
    alone = [UniSimScore(model)(image).item() for image in PHOTOS[:3]]
    np.testing.assert_allclose(alone, expected[:3], atol=1e-5)
    by_text = (means * texts).sum(-1)
    np.testing.assert_allclose(UniSimScore(model, reduction="none")(PHOTOS, captions), by_text, atol=1e-5)
    alike = (means[1:] * means[:-1]).sum(-1)
    np.testing.assert_allclose(
        UniSimScore(model, reduction="none")(PHOTOS[1:], PHOTOS[:-1]), alike, atol=1e-5
    )
    best = UniSimRanking(model)([PHOTOS[:3]])["win_rate"].argmax()
    assert best == int(np.argmax(expected[:3]))


def test_other_kinds_of_images(file: Path, tmp_path: Path) -> None:
    model: Any = load_model(f"liqe:{file}")
    image = photo(300, 150)
    image.save(tmp_path / "photo.png")
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    expected = model.score([image], None, "quality")
    for same in (tensor, tmp_path / "photo.png"):
        assert torch.equal(model.score([same], None, "quality"), expected)
    floats = (tensor / 255).requires_grad_()
    rating = model.score([floats], None, "quality")
    assert rating.item() == pytest.approx(expected.item(), abs=1e-2)
    rating.sum().backward()
    assert floats.grad is not None and bool(floats.grad.isfinite().all()) and bool(floats.grad.any())
    with pytest.raises(ValueError, match="float pixels in 0–1"):
        model.score([torch.full((3, 300, 300), 200.0)], None, "quality")


def test_a_file_of_something_else(file: Path, tmp_path: Path) -> None:
    torch.save({"params": {"other": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt must be exactly the model's, but .* 1 is extra"):
        load_model(f"liqe:{tmp_path / 'other.pt'}")
    torch.save(weights_of_clip(), tmp_path / "LIQE.pt")
    bare = load_model(f"liqe:{tmp_path / 'LIQE.pt'}")
    assert bare.weights_hash() == load_model(f"liqe:{file}").weights_hash()
