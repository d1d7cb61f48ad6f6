"""DreamSim's ensemble from files in their published layout, against models of transformers with the adapter merged."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_files import PlainCLIP, architecture, normalised, random_weights
from judge_photos import PHOTOS
from PIL import Image
from test_dreamsim import stored_names
from torch import Tensor

from unisim_metrics import UniSimLoss, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.functional import unisim_rank
from unisim_metrics.models.judges import dreamsim_ensemble
from unisim_metrics.models.sources import torch_hub

WIDTH, RANK, ALPHA = 128, 4, 2
SIZES = (architecture(WIDTH, 64, quick_gelu=True), architecture(WIDTH, 64))
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@cache
def visual(place: int) -> dict[str, Tensor]:
    """The image tower of a CLIP, by open_clip's names."""
    weights = random_weights(SIZES[place], seed=place + 1)
    return {name: tensor.float() for name, tensor in weights.items() if name.startswith("visual.")}


def dino() -> dict[str, Tensor]:
    """The file of DINO's authors: CLIP's names, less what CLIP alone has, and a bias of the patches."""
    stored = stored_clip(0)
    for name in ("proj", "pos_drop.weight", "pos_drop.bias"):
        del stored[name]
    generator = torch.Generator().manual_seed(9)
    return {name: 0.15 * torch.randn(tensor.shape, generator=generator) for name, tensor in stored.items()}


def stored_clip(place: int) -> dict[str, Tensor]:
    stored = {stored_names(name): tensor for name, tensor in visual(place).items()}
    stored["cls_token"], stored["pos_embed"] = stored["cls_token"][None, None], stored["pos_embed"][None]
    return stored | {"patch_embed.proj.bias": torch.zeros(WIDTH)}


@cache
def adapter() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = {"A": (RANK, WIDTH), "B": (3 * WIDTH, RANK)}
    return {
        f"base_model.model.extractor_list.{place}.model.blocks.{layer}.attn.qkv.lora_{side}.weight": 0.3
        * torch.randn(shape, generator=generator)
        for place in range(3)
        for layer in range(2)
        for side, shape in shapes.items()
    }


def write_folder(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(dino(), folder / "checkpoints" / "dino_vitbase16_pretrain.pth")
    for place, name in enumerate(("clip", "open_clip")):
        torch.save({"state_dict": stored_clip(place)}, folder / f"{name}_vitb16_pretrain.pth.tar")
    lora = folder / "ensemble_lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    torch.save(adapter(), lora / "adapter_model.bin")
    return folder


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": WIDTH,
        "depth": 2,
        "num_heads": 2,
    }.items():
        monkeypatch.setitem(dreamsim_ensemble.VIT, name, value)
    monkeypatch.setattr(dreamsim_ensemble, "PROJECTION", 16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shrink(monkeypatch)
    return write_folder(tmp_path / "dreamsim")


def product(place: int, layer: str) -> Tensor:
    """What the adapter adds to a layer of the tower at a place."""
    name = f"base_model.model.extractor_list.{place}.model.blocks.{layer}.attn.qkv.lora_"
    return ALPHA / RANK * adapter()[f"{name}B.weight"] @ adapter()[f"{name}A.weight"]


def plain_clip(place: int) -> PlainCLIP:
    weights = {name: tensor.float() for name, tensor in random_weights(SIZES[place]).items()} | visual(place)
    for layer in "01":
        weights[f"visual.transformer.resblocks.{layer}.attn.in_proj_weight"] += product(place + 1, layer)
    return PlainCLIP(weights, SIZES[place])


def plain_dino() -> Any:
    """`ViTModel` of transformers, without its last norm."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=4 * WIDTH,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    weights: dict[str, Tensor] = {}
    for name, tensor in dino().items():
        if name.endswith("attn.qkv.weight"):
            tensor = tensor + product(0, name.split(".")[1])
        for old, new in (
            (r"^cls_token", "embeddings.cls_token"),
            (r"^pos_embed", "embeddings.position_embeddings"),
            (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
            (r"^norm", "layernorm"),
            (r"^blocks", "layers"),
            (r"norm1", "layernorm_before"),
            (r"norm2", "layernorm_after"),
            (r"attn\.proj", "attention.o_proj"),
        ):
            name = re.sub(old, new, name)
        if "attn.qkv" in name:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                weights[name.replace("attn.qkv", f"attention.{part}_proj")] = rows
        else:
            weights[name] = tensor
    model = ViTModel(config, add_pooling_layer=False).eval()
    model.load_state_dict(weights, strict=True)
    model.layernorm = torch.nn.Identity()
    return model


@torch.no_grad()
def by_hand(photos: list[Image.Image]) -> np.ndarray:
    """Embeddings of photographs."""
    squashed = [photo.resize((32, 32), Image.Resampling.BICUBIC) for photo in photos]
    pixels = torch.stack([normalised(photo, **IMAGENET) for photo in squashed])
    parts = [plain_dino()(pixel_values=pixels).last_hidden_state[:, 0]]
    pixels = torch.stack([normalised(photo) for photo in squashed])
    parts += [
        plain_clip(place).model.get_image_features(pixel_values=pixels).pooler_output for place in (0, 1)
    ]
    features = torch.cat(parts, dim=-1).double().numpy()
    centred = features - features.mean(axis=-1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=-1, keepdims=True)


def test_scores(folder: Path) -> None:
    model: Any = load_model(f"dreamsim-ensemble:{folder}")
    assert model.input_tag == "32-bicubic-squash-mean0-std1-centred"
    images = by_hand(PHOTOS)
    scores = UniSimScore(model, reduction="none")
    alike = (images[1:] * images[:-1]).sum(-1)
    assert alike.std() > 0.01
    np.testing.assert_allclose(scores(PHOTOS[1:], PHOTOS[:-1]), alike, atol=1e-5)
    np.testing.assert_allclose(scores(PHOTOS[3], PHOTOS[2]), alike[2:3], atol=1e-5)
    odd = unisim_rank([PHOTOS[:3]], None, model, task="odd-one-out")[0]
    expected = [images[1] @ images[2], images[2] @ images[0], images[0] @ images[1]]
    np.testing.assert_allclose(odd, expected, atol=1e-5)


def test_what_it_cannot(folder: Path) -> None:
    model: Any = load_model(f"dreamsim-ensemble:{folder}")
    with pytest.raises(ValueError, match=r"'dreamsim-ensemble' answers, but got 'image-text'"):
        UniSimScore(model)(PHOTOS[:1], "a cat")
    with pytest.raises(ValueError, match="embeds images alone"):
        model.embed_texts("a cat")
    pixels = torch.rand(2, 3, 40, 50, requires_grad=True)
    UniSimLoss(model)(pixels, PHOTOS[:2]).backward()
    assert pixels.grad is not None and bool(pixels.grad.any())


def test_files_that_are_not_the_models(folder: Path) -> None:
    lora = folder / "ensemble_lora" / "adapter_model.bin"
    name = next(iter(adapter()))
    torch.save({key: value for key, value in adapter().items() if key != name}, lora)
    with pytest.raises(CheckpointError, match=r"adapter_model\.bin .* 1 is missing"):
        load_model(f"dreamsim-ensemble:{folder}")
    torch.save(adapter() | {name: torch.zeros(RANK, 5)}, lora)
    with pytest.raises(CheckpointError, match=r"must fit blocks\.0\.attn\.qkv\.weight of \(384, 128\)"):
        load_model(f"dreamsim-ensemble:{folder}")
    torch.save(adapter(), lora)
    (folder / "clip_vitb16_pretrain.pth.tar").rename(folder / "clip.tar")
    with pytest.raises(CheckpointError, match=r"lacks clip_vitb16_pretrain\.pth\.tar"):
        load_model(f"dreamsim-ensemble:{folder}")


def test_where_dino_comes_from(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_model(f"dreamsim-ensemble:{folder}").weights_hash()
    monkeypatch.setattr(torch_hub.torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (folder / "checkpoints").rename(tmp_path / "elsewhere")
    with pytest.raises(
        ModelUnavailableError, match=r"needs DINO's weights.*checkpoints/dino_vitbase16_pretrain\.pth"
    ):
        load_model(f"dreamsim-ensemble:{folder}")
    (tmp_path / "hub").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "hub" / "checkpoints")
    assert load_model(f"dreamsim-ensemble:{folder}").weights_hash() == expected
