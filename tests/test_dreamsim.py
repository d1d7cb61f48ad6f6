"""DreamSim from files in their published layout, against transformers' CLIP with the adapter multiplied out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from clip_files import PlainCLIP, architecture, normalised, random_weights
from PIL import Image
from test_clip_judges import CAPTIONS, PHOTOS
from torch import Tensor

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.functional import unisim_rank

SIZES = architecture(128, 64)
RANK, ALPHA = 4, 2


def base() -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in random_weights(SIZES).items()}


def tower() -> dict[str, Tensor]:
    """The tuned image tower, by open_clip's names."""
    weights = random_weights(SIZES, seed=1)
    return {name: tensor.float() for name, tensor in weights.items() if name.startswith("visual.")}


def adapter() -> dict[str, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return {
        f"blocks.{layer}.attn.qkv": (
            torch.randn(RANK, 128, generator=generator),
            0.2 * torch.randn(384, RANK, generator=generator),
        )
        for layer in range(2)
    }


def stored_names(name: str) -> str:
    """What timm calls a weight of open_clip's tower."""
    for old, new in (
        ("visual.", ""),
        ("class_embedding", "cls_token"),
        ("positional_embedding", "pos_embed"),
        ("conv1", "patch_embed.proj"),
        ("ln_pre", "pos_drop"),
        ("ln_post", "norm"),
        ("transformer.resblocks", "blocks"),
        ("ln_", "norm"),
        ("attn.in_proj_", "attn.qkv."),
        ("attn.out_proj", "attn.proj"),
        ("c_fc", "fc1"),
        ("c_proj", "fc2"),
    ):
        name = name.replace(old, new)
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return write_folder(tmp_path, monkeypatch)


def write_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published files, tiny, and the text tower that open_clip gives beside them."""

    def create_model(*_: Any, **__: Any) -> torch.nn.Module:
        model = open_clip.CLIP(**SIZES)
        model.load_state_dict(base())
        return model

    monkeypatch.setattr(open_clip, "create_model", create_model)
    stored = {stored_names(name): tensor for name, tensor in tower().items()}
    stored["cls_token"], stored["pos_embed"] = stored["cls_token"][None, None], stored["pos_embed"][None]
    stored["patch_embed.proj.bias"] = torch.zeros(128)
    torch.save({"state_dict": stored}, folder / "open_clip_vitb32_pretrain.pth.tar")
    lora = folder / "open_clip_vitb32_single_lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    prefix = "base_model.model.extractor_list.0.model"
    factors = {
        f"{prefix}.{name}.lora_{side}.weight": factor
        for name, pair in adapter().items()
        for side, factor in zip("AB", pair, strict=True)
    }
    torch.save(factors, lora / "adapter_model.bin")
    return folder


def by_hand(photos: list[Image.Image], captions: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of photos and of captions."""
    weights = base() | tower()
    for name, (down, up) in adapter().items():
        layer = name.split(".")[1]
        weights[f"visual.transformer.resblocks.{layer}.attn.in_proj_weight"] += ALPHA / RANK * up @ down
    plain = PlainCLIP(weights, SIZES)
    squashed = [photo.resize((32, 32), Image.Resampling.BICUBIC) for photo in photos]
    images = plain.images(torch.stack([normalised(photo) for photo in squashed]))
    centred = images - images.mean(axis=-1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True), plain.texts(captions)


def test_scores(folder: Path) -> None:
    model: Any = load_model(f"dreamsim-vit-b-32:{folder}")
    assert model.input_tag == "32-bicubic-squash-centred"
    images, texts = by_hand(PHOTOS, CAPTIONS)
    alike = (images[1:] * images[:-1]).sum(-1)
    np.testing.assert_allclose(
        UniSimScore(model, reduction="none")(PHOTOS[1:], PHOTOS[:-1]), alike, atol=1e-5
    )
    matched = (images * texts).sum(-1)
    np.testing.assert_allclose(UniSimScore(model, reduction="none")(PHOTOS, CAPTIONS), matched, atol=1e-5)
    odd = unisim_rank([PHOTOS[:3]], None, model, task="odd-one-out")[0]
    expected = [images[1] @ images[2], images[2] @ images[0], images[0] @ images[1]]
    np.testing.assert_allclose(odd, expected, atol=1e-5)


def test_files_that_are_not_the_models(folder: Path) -> None:
    lora = folder / "open_clip_vitb32_single_lora" / "adapter_model.bin"
    factors = torch.load(lora, weights_only=True)
    name = next(iter(factors))
    torch.save({key: value for key, value in factors.items() if key != name}, lora)
    with pytest.raises(CheckpointError, match=r"adapter_model\.bin .* 1 is missing"):
        load_model(f"dreamsim-vit-b-32:{folder}")
    torch.save(factors | {name: torch.zeros(RANK, 5)}, lora)
    with pytest.raises(CheckpointError, match=r"must fit blocks\.0\.attn\.qkv\.weight of \(384, 128\)"):
        load_model(f"dreamsim-vit-b-32:{folder}")
    lora.unlink()
    with pytest.raises(CheckpointError, match=r"lacks adapter_model\.safetensors"):
        load_model(f"dreamsim-vit-b-32:{folder}")


def test_a_text_tower_that_cannot_be_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(open_clip, "create_model", refuse)
    with pytest.raises(
        ModelUnavailableError, match="`open_clip:ViT-B-32/laion400m_e31`, could not be fetched"
    ):
        load_model(f"dreamsim-vit-b-32:{folder}")
