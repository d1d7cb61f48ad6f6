"""What a tiny form of a pipeline is declared by, and what many declarations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

TOKENS = 8  # of the text embeddings
WIDTH = 32  # of them
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DDIM = ("DDIMScheduler", {**BETAS, "clip_sample": False, "steps_offset": 1})
EULER = ("EulerDiscreteScheduler", BETAS)
FLOW: tuple[str, dict[str, Any]] = ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0})


@dataclass(frozen=True)
class Case:
    """A family of pipelines in small.

    Attributes:
        networks: The networks by the name that the pipeline has for them: class, and what is special of its
            configuration.
        scheduler: Class and configuration.
        components: Other components and settings of the pipeline.
        embeddings: Shapes of one prompt's embeddings that are not found by their names; None leaves one out.
        call: What else the pipeline is called with.
        prepare: Called with the pipeline, to put fixed features in the place of a text encoder.
        images: How many prompts a call has.
        lists: Whether embeddings are lists of those of single prompts.
    """

    networks: Mapping[str, tuple[str, Mapping[str, Any]]]
    scheduler: tuple[str, Mapping[str, Any]] = FLOW
    components: Mapping[str, Any] = field(default_factory=dict)
    embeddings: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any], None] | None = None
    images: int = 2
    lists: bool = False


def kl(shift: float | None = None) -> tuple[str, Mapping[str, Any]]:
    """An `AutoencoderKL`, with a shift of its latents or without."""
    return ("AutoencoderKL", {} if shift is None else {"shift_factor": shift})


def unet(**config: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The networks of a pipeline with a U-Net."""
    return {"unet": ("UNet2DConditionModel", config), "vae": kl()}


def dit(
    name: str, vae: tuple[str, Mapping[str, Any]], **config: Any
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """The networks of a pipeline with a transformer."""
    return {"transformer": (name, config), "vae": vae}


def features(*shape: int, seed: int = 0) -> Tensor:
    """Random features in the place of embeddings."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
