"""DreamSim with one CLIP ViT-B/32 (Fu et al. 2023), tuned to what people find alike.

Images are compared by their embeddings less each one's own mean. It has no texts of its own: they pass the text tower
of the CLIP that it was tuned from, as in the paper.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.images import Preprocessing
from unisim_metrics.models.checkpoints.directories import read_json
from unisim_metrics.models.checkpoints.weight_checks import check_keys
from unisim_metrics.models.encoders.open_clip import OpenCLIPEncoder
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.weights import load_exactly, read_weights
from unisim_metrics.models.sources.hub import hub_errors

_TOWER = "open_clip_vitb32_pretrain.pth.tar"
_ADAPTER = "open_clip_vitb32_single_lora"
# The CLIP that it was tuned from. Its activation is GELU, although the tag says otherwise.
_BASE = ("ViT-B-32", "laion400m_e31")

# The tower is stored by the names of timm; `pos_drop` is the norm before its blocks.
_NAMES = (
    (r"^cls_token", "class_embedding"),
    (r"^pos_embed", "positional_embedding"),
    (r"^patch_embed\.proj", "conv1"),
    (r"^pos_drop", "ln_pre"),
    (r"^norm", "ln_post"),
    (r"^blocks", "transformer.resblocks"),
    (r"\.norm", ".ln_"),
    (r"\.attn\.qkv\.", ".attn.in_proj_"),
    (r"\.attn\.proj", ".attn.out_proj"),
    (r"\.mlp\.fc1", ".mlp.c_fc"),
    (r"\.mlp\.fc2", ".mlp.c_proj"),
)
_LORA = "base_model.model.extractor_list.{}.model.{}.lora_{}.weight"


class DreamSim(OpenCLIPEncoder):
    """A CLIP whose image embeddings are centred, each around its own mean."""

    @property
    def input_tag(self) -> str:
        """How images are prepared and embeddings compared, for the signature."""
        return f"{self.preprocessing}-centred"

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images through the image tower: `[N, D]`, of any length."""
        features = super().encode_pixels(pixels)
        return features - features.mean(dim=-1, keepdim=True)


def load(source: JudgeSource) -> DreamSim:
    """Read the authors' files.

    Args:
        source: The folder that their ``dreamsim_open_clip_vitb32_checkpoint.zip`` holds.

    Raises:
        CheckpointError: If the weights are not exactly the model's, or a file is missing.
        ModelUnavailableError: If the text tower cannot be fetched.
    """
    import open_clip

    path = find_file(source.path, _TOWER)
    tower, adapter = read_weights(path), Adapter.read(source.path, _ADAPTER)
    model = _load_base(source)
    visual: Any = model.visual
    load_exactly(visual, _rename(tower, path), path)  # lest the adapter be blamed for another tower
    (merged,) = adapter.merge([tower])
    load_exactly(visual, _rename(merged, path), adapter.path)
    preprocessing = Preprocessing(size=_side(visual.image_size), resize="squash")
    tokenizer = open_clip.SimpleTokenizer(context_length=model.context_length)
    return DreamSim(model.eval(), tokenizer, source.name, preprocessing, source.truncate)


@dataclass(frozen=True)
class Adapter:
    """The low-rank adapter of one tower or several.

    Attributes:
        path: The file of its factors.
        factors: The factors, by the names of the authors' code.
        scale: What their products are multiplied by.
    """

    path: Path
    factors: Mapping[str, Tensor]
    scale: float

    @classmethod
    def read(cls, folder: Path, name: str) -> Adapter:
        """Read an adapter of peft.

        Args:
            folder: The authors' folder.
            name: The adapter's own folder in it.

        Raises:
            CheckpointError: If a file is missing, or holds anything else.
        """
        config = read_json(find_file(folder / name, "adapter_config.json"))
        path = find_file(folder / name, "adapter_model.safetensors", "adapter_model.bin")
        return cls(path, read_weights(path), config["lora_alpha"] / config["r"])

    def merge(self, towers: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """The weights of the towers, in the authors' order, with the products of the factors added.

        Raises:
            CheckpointError: If the factors are not exactly those of the towers.
        """
        adapted = {
            (place, name): [_LORA.format(place, name.removesuffix(".weight"), side) for side in "AB"]
            for place, tower in enumerate(towers)
            for name in tower
            if name.endswith(".attn.qkv.weight")
        }
        keys = {key for pair in adapted.values() for key in pair}
        check_keys(str(self.path), keys - self.factors.keys(), self.factors.keys() - keys)
        merged = [{name: tensor.float() for name, tensor in tower.items()} for tower in towers]
        for (place, name), (down, up) in adapted.items():
            weight, first, second = merged[place][name], self.factors[down].float(), self.factors[up].float()
            if first.shape[1:] != weight.shape[1:] or second.shape != (weight.shape[0], first.shape[0]):
                raise CheckpointError(
                    f"The weights in {self.path} must fit {name} of {tuple(weight.shape)}, but {down} is"
                    f" {tuple(first.shape)} and {up} {tuple(second.shape)}."
                )
            merged[place][name] = weight + self.scale * second @ first
        return merged


def find_file(folder: Path, *names: str) -> Path:
    """The first file of these names in a folder.

    Raises:
        CheckpointError: If there is none.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"The folder {folder} must hold files of DreamSim, but lacks {' and '.join(names)}."
    )


def _rename(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tower by the names of open_clip."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        for old, new in _NAMES:
            name = re.sub(old, new, name)
        renamed[name] = tensor
    for name, empty in (("class_embedding", (0, 0)), ("positional_embedding", (0,))):
        if name in renamed and renamed[name].shape[: len(empty)] == (1,) * len(empty):
            renamed[name] = renamed[name][empty]
    bias = renamed.pop("conv1.bias", None)  # CLIP has none
    if bias is not None and bool(bias.any()):
        raise CheckpointError(
            f"The weights in {path} must have a patch embedding without a bias, but it is not 0."
        )
    return renamed


def _load_base(source: JudgeSource) -> Any:
    import open_clip

    unavailable: tuple[type[Exception], ...] = (*hub_errors(), UnpicklingError)
    cache = None if source.cache_dir is None else str(source.cache_dir)
    try:
        model: nn.Module = open_clip.create_model(
            _BASE[0], pretrained=_BASE[1], cache_dir=cache, require_pretrained=True, weights_only=True
        )
    except unavailable as error:
        raise ModelUnavailableError(
            f"The text tower of `{source.name}`, that of `open_clip:{'/'.join(_BASE)}`, could not be fetched: {error}."
            " Connect to the network once (and unset HF_HUB_OFFLINE), or copy the Hub's cache here."
        ) from error
    return model.to(torch.float32)


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]
