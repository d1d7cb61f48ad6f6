"""How the small text-to-image model is made: every setting, with the values of the documentation's figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Descent:
    """One run of the optimizer.

    Attributes:
        steps: How many.
        batch: Scenes a step.
        learning_rate: At the end of the warm-up.
        schedule: What becomes of it then, by diffusers' name.
        warmup: Steps in which it rises from zero in a straight line; it may be all of them.
        ema: Decay of the averaged weights, which are the result.
        save_every: Steps between checkpoints.
    """

    steps: int
    batch: int
    learning_rate: float
    schedule: Literal["cosine", "constant_with_warmup"] = "constant_with_warmup"
    warmup: int = 100
    ema: float = 0.998
    save_every: int = 100


@dataclass(frozen=True)
class Autoencoder:
    """The autoencoder, in the words of `AutoencoderKL`, and its training: both halves, then the decoder alone.

    Attributes:
        block_out_channels: Of its levels.
        latent_channels: Of the latents.
        norm_num_groups: Of its normalisations; more would take the colour out of so few channels.
        kl_weight: Of the divergence from unit Gaussians, each latent number alike.
        descent: Training of both halves.
        sharpening: Training of the decoder, from when the latents stay.
    """

    block_out_channels: tuple[int, ...] = (8, 16, 32, 64)
    latent_channels: int = 8
    norm_num_groups: int = 1
    kl_weight: float = 1e-3
    descent: Descent = field(
        default_factory=lambda: Descent(steps=1500, batch=8, learning_rate=3e-3, schedule="cosine")
    )
    sharpening: Descent = field(
        default_factory=lambda: Descent(steps=4000, batch=8, learning_rate=1.5e-3, warmup=4000)
    )


@dataclass(frozen=True)
class Denoiser:
    """The U-Net, in the words of `UNet2DConditionModel`, and its training.

    Attributes:
        block_out_channels: Of its levels.
        attention_heads: Of each attention.
        norm_num_groups: Of its normalisations.
        unconditional: The share of captions left out, for classifier-free guidance.
        snr_limit: Losses of steps with more signal than this count less (min-SNR, Hang et al. 2023).
        descent: Its training.
    """

    block_out_channels: tuple[int, ...] = (64, 128)
    attention_heads: int = 4
    norm_num_groups: int = 8
    unconditional: float = 0.12
    snr_limit: float = 5.0
    descent: Descent = field(
        default_factory=lambda: Descent(steps=3000, batch=32, learning_rate=8e-4, warmup=3000)
    )


@dataclass(frozen=True)
class Recipe:
    """All of it.

    Attributes:
        scenes: Training scenes, those of the seeds from 0 on.
        tokens: The length that captions are padded to.
        autoencoder: Stage 1.
        denoiser: Stage 2.
        seed: Of weights and batches.
    """

    scenes: int = 8_000
    tokens: int = 12
    autoencoder: Autoencoder = field(default_factory=Autoencoder)
    denoiser: Denoiser = field(default_factory=Denoiser)
    seed: int = 0
