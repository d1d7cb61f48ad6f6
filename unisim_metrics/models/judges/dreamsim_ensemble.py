"""DreamSim's ensemble (Fu et al. 2023): three ViT-B/16 tuned together to what people find alike.

Images are compared by what DINO, OpenAI's CLIP and open_clip's CLIP make of them, one behind the other, less its own
mean. It has no texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from unisim_metrics.errors import ModelUnavailableError
from unisim_metrics.images import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, Preprocessing
from unisim_metrics.models.encoders.base import EncoderModel
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.dreamsim import Adapter, find_file
from unisim_metrics.models.judges.weights import load_exactly, read_weights
from unisim_metrics.models.sources.torch_hub import fetch_url

if TYPE_CHECKING:
    from unisim_metrics.models.answering import Way
    from unisim_metrics.tasks import Task

VIT: dict[str, Any] = {"img_size": 224, "patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12}
PROJECTION = 512

# What DINO's authors publish, from which it was tuned. The authors' package puts it into its own folder.
_DINO = "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth"
_CLIP = ("clip_vitb16_pretrain.pth.tar", "open_clip_vitb16_pretrain.pth.tar")
_ADAPTER = "ensemble_lora"

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tower(nn.Module):
    """A ViT, read at its first token; its weights have the names that timm and DINO give them."""

    mean: Tensor
    std: Tensor

    def __init__(self, vit: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.vit = vit
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """The first token `[N, D]` of images in [0, 1]."""
        vit: Any = self.vit
        first: Tensor = vit.forward_features((pixels - self.mean) / self.std)[:, 0]
        return first


class CLIPTower(Tower):
    """CLIP's: with a norm before its blocks, and a projection behind them."""

    def __init__(self, activation: str) -> None:
        vit = _build(activation, eps=1e-5)
        vit.pos_drop = nn.LayerNorm(VIT["embed_dim"])  # the norm's place in the published files
        super().__init__(vit, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        self.proj = nn.Parameter(torch.empty(VIT["embed_dim"], PROJECTION))

    def forward(self, pixels: Tensor) -> Tensor:
        """The projected first token `[N, D]` of images in [0, 1]."""
        return super().forward(pixels) @ self.proj


class Ensemble(nn.Module):
    """The towers, in the authors' order."""

    def __init__(self) -> None:
        super().__init__()
        dino = Tower(_build("gelu", eps=1e-6, final_norm=False), _IMAGENET_MEAN, _IMAGENET_STD)
        self.towers = nn.ModuleList([dino, CLIPTower("quick_gelu"), CLIPTower("gelu")])

    def forward(self, pixels: Tensor) -> Tensor:
        """What all make of images in [0, 1], one behind the other: `[N, D]`."""
        return torch.cat([tower(pixels) for tower in self.towers], dim=-1)


class DreamSimEnsemble(EncoderModel):
    """Embeddings of images, centred, each around its own mean.

    Args:
        backbone: The towers.
        source: What they were read from.
    """

    tasks: ClassVar[Mapping[Task, Way]] = {"image-image": "embeddings", "odd-one-out": "embeddings"}

    def __init__(self, backbone: Ensemble, source: JudgeSource) -> None:
        # Each tower has a mean and deviation of its own.
        preprocessing = Preprocessing(VIT["img_size"], mean=(0, 0, 0), std=(1, 1, 1), resize="squash")
        super().__init__(backbone, source.name, preprocessing, source.truncate)

    @property
    def input_tag(self) -> str:
        """How images are prepared and embeddings compared, for the signature."""
        return f"{self.preprocessing}-centred"

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images through the towers: `[N, D]`, of any length."""
        features: Tensor = self.backbone(pixels)
        return features - features.mean(dim=-1, keepdim=True)

    def embed_texts(self, texts: str | Sequence[str], batch_size: int | None = None) -> NoReturn:
        """Refuse: it reads no texts.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"Model {self.name!r} embeds images alone: it reads no texts.")


def load(source: JudgeSource) -> DreamSimEnsemble:
    """Read the authors' files.

    Args:
        source: The folder that their ``dreamsim_ensemble_checkpoint.zip`` holds. DINO's weights, which are not in it,
            are looked for in its ``checkpoints``, where their package puts them, then in torch's cache, then fetched.

    Raises:
        CheckpointError: If the weights are not exactly the model's, or a file is missing.
        ModelUnavailableError: If DINO's weights cannot be fetched.
    """
    paths = [_find_dino(source), *(find_file(source.path, name) for name in _CLIP)]
    towers, adapter = [read_weights(path) for path in paths], Adapter.read(source.path, _ADAPTER)
    for name in ("norm.weight", "norm.bias"):  # DINO is read before its last norm
        towers[0].pop(name, None)
    model = Ensemble()
    for tower, weights, path in zip(model.towers, towers, paths, strict=True):
        load_exactly(tower, _rename(weights), path)  # lest the adapter be blamed for another tower
    for tower, weights in zip(model.towers, adapter.merge(towers), strict=True):
        load_exactly(tower, _rename(weights), adapter.path)
    return DreamSimEnsemble(model.eval(), source)


def _build(activation: str, eps: float, final_norm: bool = True) -> Any:
    from timm.models.vision_transformer import VisionTransformer

    norm = partial(nn.LayerNorm, eps=eps)
    return VisionTransformer(
        **VIT, num_classes=0, act_layer=activation, norm_layer=norm, final_norm=final_norm, weight_init="skip"
    )


def _rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name if name == "proj" else f"vit.{name}": tensor for name, tensor in weights.items()}


def _find_dino(source: JudgeSource) -> Path:
    beside = source.path / "checkpoints" / _DINO.rsplit("/", 1)[-1]
    if beside.is_file():
        return beside
    try:
        return fetch_url(_DINO)
    except OSError as error:
        raise ModelUnavailableError(
            f"The model `{source.name}` needs DINO's weights, which could not be fetched: {error}. On a machine with a"
            f" network fetch {_DINO} and put it at {beside}."
        ) from error
