"""Judges in CLIP's own layout, against transformers' model of the same weights: HPSv2 and PAC-S."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import judge_photos
import numpy as np
import open_clip
import pytest
import torch
from clip_files import PlainCLIP, architecture, normalised, random_weights, write
from oracle import TEXTS
from PIL import Image
from torchvision.transforms.functional import center_crop

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.models import published

SIZES = {
    "ViT-H-14": architecture(160, 80),
    "ViT-B-32-quickgelu": architecture(128, 64, quick_gelu=True),
    "ViT-L-14": architecture(64, 64),
}
FLAT = [Image.new("RGB", size, (200, 30, 90)) for size in ((32, 32), (31, 90), (401, 33))]
PHOTOS = [*judge_photos.PHOTOS, *FLAT]
CAPTIONS = [*judge_photos.CAPTIONS, *TEXTS[: len(FLAT)]]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the architectures be tiny ones."""
    monkeypatch.setattr(open_clip, "get_model_config", SIZES.get)


def padded(photo: Image.Image) -> Image.Image:
    """The long side to 32, black around."""
    scale = 32 / max(photo.size)
    resized = photo.resize(tuple(round(side * scale) for side in photo.size), Image.Resampling.BICUBIC)  # type: ignore[arg-type]
    canvas = Image.new("RGB", (32, 32))
    canvas.paste(resized, ((32 - resized.width) // 2, (32 - resized.height) // 2))
    return canvas


def cropped(photo: Image.Image) -> Image.Image:
    """As torchvision does it: the short side to 32, the centre."""
    scale = 32 / min(photo.size)
    size = tuple(32 if side == min(photo.size) else int(side * scale) for side in photo.size)
    return center_crop(photo.resize(size, Image.Resampling.BICUBIC), 32)  # type: ignore[arg-type, no-any-return]


def check(model: Any, plain: PlainCLIP, pixels: torch.Tensor, captions: list[str]) -> None:
    """Compare all scores, alone and in batches, with those of the plain model."""
    images, texts = plain.images(pixels), plain.texts(captions)
    expected = (images * texts).sum(-1)
    scores = UniSimScore(model, reduction="none")(PHOTOS, CAPTIONS)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    alone = [UniSimScore(model)(photo, text) for photo, text in zip(PHOTOS[:4], CAPTIONS, strict=False)]
    np.testing.assert_allclose(torch.stack(alone), expected[:4], atol=1e-5)
    alike = UniSimScore(model, reduction="none")(PHOTOS[1:], PHOTOS[:-1])
    np.testing.assert_allclose(alike, (images[1:] * images[:-1]).sum(-1), atol=1e-5)
    assert UniSimRanking(model)([PHOTOS[:2]], CAPTIONS[:1])["win_rate"].sum() == 1


@pytest.mark.parametrize("name", ["hpsv2", "hpsv2.1"])
def test_hpsv2(name: str, tmp_path: Path) -> None:
    weights = random_weights(SIZES["ViT-H-14"])
    model: Any = load_model(f"{name}:{write(tmp_path / 'weights.pt', weights)}")
    assert (model.name, model.input_tag, model.dtype) == (name, "32-bicubic-pad", torch.float32)
    pixels = torch.stack([normalised(padded(photo)) for photo in PHOTOS])
    check(model, PlainCLIP(weights, SIZES["ViT-H-14"]), pixels, CAPTIONS)


def test_every_kind_of_image_is_padded_alike(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pt", random_weights(SIZES["ViT-H-14"]))
    model: Any = load_model(f"hpsv2:{path}")
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 91, 3), dtype=np.uint8))
    tensor = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    photo.save(tmp_path / "photo.png")
    expected = model.embed_images(photo)
    floats = (tensor / 255).requires_grad_()
    for same in (tensor, floats, tmp_path / "photo.png"):
        assert (model.embed_images(same) @ expected.T).item() > 0.999
    model.embed_images(floats).sum().backward()
    assert floats.grad is not None and floats.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "sizes", "mean"),
    [("pac-s-vit-b-32", "ViT-B-32-quickgelu", None), ("pac-s-vit-l-14", "ViT-L-14", 0.5)],
)
def test_pac_s(name: str, sizes: str, mean: float | None, tmp_path: Path) -> None:
    weights = random_weights(SIZES[sizes])
    path = write(tmp_path / "weights.pth", weights)
    published.tell_terms.cache_clear()
    with pytest.warns(UserWarning, match=rf"`{name}`: their authors grant no licence"):
        model: Any = load_model(f"{name}:{path}")
    numbers = {} if mean is None else {"mean": [mean] * 3, "std": [mean] * 3}
    pixels = torch.stack([normalised(cropped(photo), **numbers) for photo in PHOTOS])
    check(model, PlainCLIP(weights, SIZES[sizes]), pixels, [f"A photo depicts {text}" for text in CAPTIONS])
    assert "depicts" in model.input_tag
    assert model.count_truncated(["word " * 71, "word " * 73]) == 1
    with pytest.raises(ValueError, match=r"must fit in the model.s context of 77"):
        load_model(f"{name}:{path}", truncate=False).embed_texts("word " * 73)


class TestFiles:
    def test_safetensors_and_openais_numbers(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        weights = random_weights(SIZES["ViT-H-14"])
        save_file(weights | {"context_length": torch.tensor(77)}, tmp_path / "weights.safetensors")
        same = load_model(f"hpsv2:{tmp_path / 'weights.safetensors'}")
        assert same.weights_hash() == load_model(f"hpsv2:{write(tmp_path / 'w.pt', weights)}").weights_hash()
        (tmp_path / "cut.safetensors").write_bytes(b"cut short")
        with pytest.raises(CheckpointError, match=r"cut\.safetensors cannot be read"):
            load_model(f"hpsv2:{tmp_path / 'cut.safetensors'}")

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=r"must name a file behind `hpsv2:`, but there is no 'other\.pt'"
        ):
            load_model("hpsv2:other.pt")
        with pytest.raises(ModelUnavailableError, match=r"hf download xswu/HPSv2 HPS_v2_compressed\.pt"):
            load_model("hpsv2", cache_dir=tmp_path)
        with pytest.raises(ModelUnavailableError, match=r"clip_ViT-B-32\.pth \(https://drive\.google\.com"):
            load_model("pac-s-vit-b-32", cache_dir=tmp_path)
        with pytest.raises(ValueError, match="`base` does not apply to `hpsv2`"):
            load_model("hpsv2", base="other")
        write(tmp_path / "HPS_v2_compressed.pt", random_weights(SIZES["ViT-H-14"]))
        assert load_model("hpsv2", cache_dir=tmp_path).name == "hpsv2"
