"""What a pipeline must be for a callback to work in it, checked before it runs."""

from __future__ import annotations

import inspect
from typing import Any

from diffusers import DiffusionPipeline

from .previews import denoiser
from .sampling import check_makes_images
from .schedulers import check_scheduler


def check_pipeline(pipe: Any) -> None:
    """Check that a pipeline makes images step by step from latents, and calls back after each.

    Raises:
        TypeError: If it is no pipeline of diffusers.
        ValueError: If it makes videos, takes no callback, or has a scheduler that tells no predicted image.
    """
    check_makes_images(pipe)
    name = type(pipe).__name__
    if "callback_on_step_end" not in inspect.signature(type(pipe).__call__).parameters:
        raise ValueError(
            f"Argument `pipe` must be a pipeline that takes `callback_on_step_end`, but {name} does not:"
            " score its finished images with `unisim_metrics.functional.unisim_score`."
        )
    inputs = getattr(pipe, "_callback_tensor_inputs", [])
    if "latents" not in inputs:
        raise ValueError(
            f"Argument `pipe` must be a pipeline that passes `latents` to its callback, but {name} passes"
            f" {inputs}: score its finished images with `unisim_metrics.functional.unisim_score`."
        )
    check_scheduler(pipe.scheduler)


def pastes_back(pipe: DiffusionPipeline) -> bool:
    """Whether the pipeline overwrites a part of the latents after every step: inpainting by a model not made for it."""
    if "Inpaint" not in type(pipe).__name__:
        return False
    channels = getattr(denoiser(pipe), "config", {}).get("in_channels")
    latent_channels = pipe.vae.config.latent_channels
    return channels in (latent_channels, 4 * latent_channels)  # four times where latents are packed
