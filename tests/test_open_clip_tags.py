"""Every tag that open_clip lists: our embeddings are those of its own factory and transform, or it is refused.

The architectures are shrunk, and their weights random; what a tag says of activation and images is open_clip's own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn

from unisim_metrics import load_model
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.checkpoints.open_clip_config import preprocessing_of_file

TAGS = [(architecture, tag) for architecture, tag in open_clip.list_pretrained()]
SIZE = 32


def letters(texts: list[str], context_length: int | None = None) -> torch.Tensor:
    """A tokenizer that needs no download: letters, and CLIP's end token where that is the highest."""
    rows = [[1, *(ord(letter) % 90 + 2 for letter in text[:5]), 99] for text in texts]
    return torch.tensor([row + [0] * (8 - len(row)) for row in rows])


def shrink(config: dict[str, Any]) -> dict[str, Any]:
    """The same kind of towers, activation and pooling, small."""
    small = copy.deepcopy(config)
    small["embed_dim"] = 8
    vision, text = small["vision_cfg"], small["text_cfg"]
    vision["image_size"] = SIZE
    if vision.get("timm_model_name"):
        # Another tower of timm: what is looked at here is the preprocessing and the text's activation.
        for name in [name for name in vision if name.startswith("timm_")]:
            del vision[name]
        vision.update(layers=1, width=16, head_width=8, patch_size=16)
    elif isinstance(vision["layers"], list):
        vision.update(layers=[1, 1, 1, 1], width=8, head_width=8)
    else:
        vision.update(layers=1, width=16, head_width=8, patch_size=16)
    for name in ("hf_model_name", "hf_proj_type", "hf_pooler_type", "hf_model_pretrained"):
        text.pop(name, None)
    text.update(context_length=8, vocab_size=100, width=16, heads=2, layers=1)
    if "multimodal_cfg" in small:
        small["multimodal_cfg"].update(context_length=8, vocab_size=100, width=16, heads=2, layers=1)
        small["custom_text"] = True
    return small


@pytest.fixture(scope="module", autouse=True)
def small_architectures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """open_clip's architectures shrunk, and weights in files in the place of what it would download."""
    folder = tmp_path_factory.mktemp("weights")
    patch = pytest.MonkeyPatch()
    for architecture in {architecture for architecture, _ in TAGS}:
        patch.setitem(factory._MODEL_CONFIGS, architecture, shrink(factory._MODEL_CONFIGS[architecture]))
    patch.setattr(factory, "download_pretrained", lambda config, cache_dir=None: _weights[0])
    patch.setattr(open_clip, "get_tokenizer", lambda *args, **options: letters)
    yield folder
    patch.undo()


_weights: list[str] = [""]


@cache
def weights_of(config: str, folder: Path) -> str:
    """Random weights for a configuration, which many architectures share."""
    model = _build(json.loads(config))
    path = folder / f"{abs(hash(config))}.pt"
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim:
                parameter.normal_(std=0.3)
    torch.save(model.state_dict(), path)
    return str(path)


def _build(config: dict[str, Any]) -> nn.Module:
    custom = config.pop("custom_text", False)
    kind: Any = (
        open_clip.CoCa
        if "multimodal_cfg" in config
        else open_clip.CustomTextCLIP
        if custom
        else open_clip.CLIP
    )
    model: nn.Module = kind(**config)
    return model


def photos() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))
        for size in ((40, 56), (61, 33))
    ]


def unit(features: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(features, dim=-1)


TEXTS = ["a dog", "red"]


@pytest.mark.filterwarnings("ignore:QuickGELU mismatch")
@pytest.mark.parametrize(("architecture", "tag"), TAGS)
def test_tag(architecture: str, tag: str, small_architectures: Path) -> None:
    config: dict[str, Any] = open_clip.get_model_config(architecture)  # type: ignore[assignment]
    _weights[0] = weights_of(json.dumps(config, sort_keys=True), small_architectures)
    told: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)  # type: ignore[assignment]
    if told.get("interpolation", "bicubic") != "bicubic":
        with pytest.raises(ValueError, match="bicubic"):
            load_model(f"open_clip:{architecture}/{tag}")
        return
    # What the weights were trained with: the tag's word, or the architecture's.
    theirs: Any = open_clip.create_model(
        architecture, pretrained=tag, force_quick_gelu=bool(told.get("quick_gelu"))
    ).eval()
    transform: Any = image_transform_v2(PreprocessCfg(**theirs.visual.preprocess_cfg), is_train=False)
    ours = load_model(f"open_clip:{architecture}/{tag}", resample="pil")
    assert isinstance(ours, EncoderModel)
    with torch.no_grad():
        images = unit(theirs.encode_image(torch.stack([transform(photo) for photo in photos()])))
        texts = unit(theirs.encode_text(letters(TEXTS)))
    assert (ours.embed_images(photos()) - images).abs().max() <= 1e-5
    assert (ours.embed_texts(TEXTS) - texts).abs().max() <= 1e-5
    expected = {kind.__name__ for kind in map(type, theirs.modules()) if "GELU" in kind.__name__}
    assert {type(part).__name__ for part in ours.modules() if "GELU" in type(part).__name__} == expected


@pytest.mark.filterwarnings("ignore:QuickGELU mismatch")
@pytest.mark.parametrize("architecture", sorted({architecture for architecture, _ in TAGS}))
def test_file(architecture: str, small_architectures: Path) -> None:
    """Weights in a file are prepared as all published ones of the architecture, or `load_model` asks how."""
    config: dict[str, Any] = open_clip.get_model_config(architecture)  # type: ignore[assignment]
    file = weights_of(json.dumps(config, sort_keys=True), small_architectures)
    _weights[0] = file
    spec = f"open_clip:{architecture}/{file}"
    tags = [tag for name, tag in TAGS if name == architecture]
    seen = {}
    for tag in tags:
        told: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)  # type: ignore[assignment]
        standard = PreprocessCfg(
            **{key: value for key, value in told.items() if key in PreprocessCfg.__annotations__}
        )
        seen[
            str((tuple(standard.mean), tuple(standard.std), standard.interpolation, standard.resize_mode))
        ] = tag
    if len(seen) > 1:
        assert preprocessing_of_file(architecture) is None
        with pytest.raises(ValueError, match="Argument `preprocessing` must be given"):
            load_model(spec)
        return
    if "bilinear" in next(iter(seen)):
        with pytest.raises(ValueError, match="bicubic"):
            load_model(spec)
        return
    assert load_model(spec).input_tag == load_model(f"open_clip:{architecture}/{tags[0]}").input_tag


def test_which_were_wrong() -> None:
    """The fault was no rare one: what was taken for CLIP's mean, std and squash is another for these."""
    others = [
        (architecture, tag)
        for architecture, tag in TAGS
        if (preprocessing_of_file(architecture) or {}).get("mean", [0.5] * 3)
        != [0.48145466, 0.4578275, 0.40821073]
    ]
    assert len(others) >= 50
    assert preprocessing_of_file("ViT-L-14") is None
    assert preprocessing_of_file("ViT-S-32") is None, "no weights of it are published"


def test_the_activation_of_the_tag_counts() -> None:
    differing = [
        (architecture, tag)
        for architecture, tag in TAGS
        if (open_clip.get_pretrained_cfg(architecture, tag) or {}).get("quick_gelu")
        and not (open_clip.get_model_config(architecture) or {}).get("quick_gelu")
    ]
    assert len(differing) >= 27 and ("ViT-B-32", "openai") in differing
