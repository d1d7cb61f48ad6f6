"""The parts of a pipeline, by whatever names it has for them."""

from __future__ import annotations

from typing import Any

from diffusers import DiffusionPipeline
from torch import nn


def denoiser(pipe: DiffusionPipeline) -> nn.Module | None:
    """The U-Net or transformer of a pipeline; None if it has none, or one that is no module of torch."""
    parts = (getattr(pipe, name, None) for name in ("unet", "transformer", "decoder"))
    return next((part for part in parts if isinstance(part, nn.Module)), None)


def networks(pipe: DiffusionPipeline) -> list[nn.Module]:
    """The networks that a pipeline passes its latents at every step: the denoiser, and what works beside it."""
    names = ("unet", "transformer", "decoder", "unconditional_transformer", "controlnet")
    parts = (getattr(pipe, name, None) for name in names)
    return [part for part in parts if isinstance(part, nn.Module)]


def autoencoder(pipe: DiffusionPipeline) -> Any:
    """The autoencoder of a pipeline; None if it has none."""
    return next((part for name in ("vae", "movq", "vqgan") if (part := getattr(pipe, name, None))), None)
