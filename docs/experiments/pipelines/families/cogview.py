"""CogView and GLM-Image."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from ..case import WIDTH, Case, dit, kl

NETWORKS: dict[str, dict[str, Any]] = {
    "CogView3PlusTransformer2DModel": {
        "patch_size": 2,
        "in_channels": 4,
        "num_layers": 1,
        "attention_head_dim": 4,
        "num_attention_heads": 2,
        "out_channels": 4,
        "text_embed_dim": WIDTH,
        "time_embed_dim": 8,
        "condition_dim": 2,
        "pos_embed_max_size": 16,
        "sample_size": 16,
    },
    "CogView4Transformer2DModel": {
        "patch_size": 2,
        "in_channels": 4,
        "num_layers": 1,
        "attention_head_dim": 4,
        "num_attention_heads": 4,
        "out_channels": 4,
        "text_embed_dim": WIDTH,
        "time_embed_dim": 8,
        "condition_dim": 4,
    },
    "GlmImageTransformer2DModel": {
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "text_embed_dim": WIDTH,
        "time_embed_dim": 16,
        "condition_dim": 8,
        "prior_vq_quantizer_codebook_size": 16,
    },
}


def _tell_statistics(pipe: Any) -> None:
    pipe.vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.9, 1.1, 1.2, 0.8])


def _encode_the_mean(pipe: Any) -> None:
    """One pipeline draws the latents of its control image from the global generator."""
    encode = pipe.vae.encode

    def encoded(images: Tensor, **settings: Any) -> Any:
        parameters = encode(images).latent_dist.parameters
        return AutoencoderKLOutput(DiagonalGaussianDistribution(parameters, deterministic=True))

    pipe.vae.encode = encoded


CASES: dict[str, Case] = {
    "CogView3Plus": Case(
        dit("CogView3PlusTransformer2DModel", kl()),
        ("CogVideoXDDIMScheduler", {"rescale_betas_zero_snr": False}),
    ),
    "CogView4Control": Case(dit("CogView4Transformer2DModel", kl(), in_channels=8), prepare=_encode_the_mean),
    "CogView4": Case(dit("CogView4Transformer2DModel", kl())),
    "GlmImage": Case(
        dit("GlmImageTransformer2DModel", kl()),
        prepare=_tell_statistics,
        images=1,
        call={"prior_token_ids": torch.arange(64).view(1, 64) % 16},
    ),
}
