"""Tiny diffusion pipelines with random weights, made from configurations: for tests and for measurements.

They need no download and no text encoder: `tiny_inputs` gives embeddings in the place of prompts. Their pictures are
noise, but every part (denoiser, scheduler, autoencoder, packing of latents) is that of the real pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

SIZE = 64
_SIDE = 16  # of the latents: the autoencoder halves the picture twice
_WIDTH = 32  # of the text embeddings
_TOKENS = 8


def tiny_vae(latent_channels: int = 4, shift_factor: float | None = None, levels: int = 3) -> AutoencoderKL:
    """An `AutoencoderKL` that turns 16 × 16 latents into 64 × 64 pixels, or 8 × 8 with one more level."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8, *(16,) * (levels - 1)),
        norm_num_groups=4,
        latent_channels=latent_channels,
        scaling_factor=0.5,
        shift_factor=shift_factor,
        use_quant_conv=shift_factor is None,
        use_post_quant_conv=shift_factor is None,
        sample_size=SIZE,
    ).eval()


def tiny_preview_vae(latent_channels: int = 4) -> AutoencoderTiny:
    """An `AutoencoderTiny` for the latents of `tiny_vae`."""
    return AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ).eval()


def tiny_unet(in_channels: int = 4, **config: Any) -> UNet2DConditionModel:
    """A U-Net with cross-attention over text embeddings of width 32."""
    return UNet2DConditionModel(
        sample_size=_SIDE,
        in_channels=in_channels,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        **{
            "out_channels": 4,
            "layers_per_block": 1,
            "block_out_channels": (16, 32),
            "cross_attention_dim": _WIDTH,
            **config,
        },
    ).eval()


def tiny_sd() -> StableDiffusionPipeline:
    """Stable Diffusion: U-Net, noise prediction, DDIM."""
    return StableDiffusionPipeline(
        vae=tiny_vae(),
        unet=tiny_unet(),
        scheduler=DDIMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            steps_offset=1,
        ),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sdxl() -> StableDiffusionXLPipeline:
    """Stable Diffusion XL: a U-Net that also takes pooled embeddings and sizes, Euler."""
    return StableDiffusionXLPipeline(
        vae=tiny_vae(),
        unet=tiny_unet(
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=_WIDTH + 6 * 8,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="leading"
        ),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        add_watermarker=False,
    )


def tiny_sd3() -> StableDiffusion3Pipeline:
    """Stable Diffusion 3: a transformer, flow matching."""
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=_SIDE,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=_WIDTH,
            caption_projection_dim=32,
            pooled_projection_dim=_WIDTH,
            pos_embed_max_size=_SIDE,
        ).eval(),
        vae=tiny_vae(shift_factor=0.1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=None,
        text_encoder_2=None,
        text_encoder_3=None,
        tokenizer=None,
        tokenizer_2=None,
        tokenizer_3=None,
    )


def tiny_flux() -> FluxPipeline:
    """Flux: a transformer over packed latents, flow matching."""
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=_WIDTH,
            pooled_projection_dim=_WIDTH,
            axes_dims_rope=(4, 4, 8),
        ).eval(),
        vae=tiny_vae(shift_factor=0.1),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    )


TINY: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd": tiny_sd,
    "sdxl": tiny_sdxl,
    "sd3": tiny_sd3,
    "flux": tiny_flux,
}


def tiny_inputs(kind: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Arguments for a call of a tiny pipeline: random embeddings in the place of prompts, and the size.

    Args:
        kind: A key of `TINY`.
        count: How many prompts.
        seed: Of the embeddings.
    """
    generator = torch.Generator().manual_seed(seed)
    names: dict[str, tuple[int, ...]] = {"prompt_embeds": (_TOKENS, _WIDTH)}
    if kind != "flux":
        names["negative_prompt_embeds"] = (_TOKENS, _WIDTH)
    if kind != "sd":
        names.update({name.replace("prompt", "pooled_prompt"): (_WIDTH,) for name in names})
    arrays = {name: torch.randn(count, *shape, generator=generator) for name, shape in names.items()}
    return {**arrays, "height": SIZE, "width": SIZE}
