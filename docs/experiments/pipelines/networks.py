"""Tiny networks by the name of their class: configurations alone, so that a new family costs a few lines."""

from __future__ import annotations

from typing import Any, cast

import diffusers
import torch
from diffusers.pipelines.deprecated import wuerstchen
from torch import Tensor, nn

from ..tiny_pipelines import tiny_unet, tiny_vae
from .families import NETWORKS

_FROM_UNET: dict[str, dict[str, Any]] = {
    "ControlNetModel": {"conditioning_embedding_out_channels": (8, 16, 16)},
    "ControlNetXSAdapter": {"size_ratio": 1.0, "conditioning_embedding_out_channels": (8, 16, 16)},
}


def tiny_network(name: str, unet: nn.Module | None = None, **config: Any) -> nn.Module:
    """A network of random weights, in evaluation mode.

    Args:
        name: Of its class.
        unet: What a ControlNet of Stable Diffusion is made for.
        config: What is to be otherwise than in `NETWORKS`.
    """
    if name in _FROM_UNET:
        controlnet: nn.Module = getattr(diffusers, name).from_unet(unet, **_FROM_UNET[name])
        return controlnet.eval()
    if name == "AutoencoderKL":
        network: nn.Module = tiny_vae(**config)
    elif name == "UNet2DConditionModel":
        network = tiny_unet(**config)
    else:
        kind = getattr(diffusers if hasattr(diffusers, name) else wuerstchen, name)
        network = kind(**{**NETWORKS[name], **config})
    if name == "AutoencoderKLFlux2":
        # As if it had been trained: other than the zeros and ones that it starts from.
        generator = torch.Generator().manual_seed(0)
        norm = cast(nn.BatchNorm2d, network.bn)
        cast(Tensor, norm.running_mean).normal_(generator=generator)
        cast(Tensor, norm.running_var).uniform_(0.5, 2.0, generator=generator)
    return network.eval()
