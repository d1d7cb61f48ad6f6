"""Stable Diffusion, of all versions, and what is made of its U-Net."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...tiny_pipelines import SIZE
from ..case import BETAS, DDIM, EULER, WIDTH, Case, dit, features, kl, unet

_SD3_CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": WIDTH,
    "caption_projection_dim": 32,
    "pooled_projection_dim": WIDTH,
    "pos_embed_max_size": 16,
}

NETWORKS: dict[str, dict[str, Any]] = {
    "SD3ControlNetModel": _SD3_CONFIG,
    "SD3Transformer2DModel": _SD3_CONFIG,
}

_SDXL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "transformer_layers_per_block": (1, 1),
    "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
}


def _encode_kolors(pipe: Any) -> None:
    def encode_prompt(*args: Any, prompt_embeds: Tensor, negative_prompt_embeds: Tensor, **rest: Any) -> Any:
        return prompt_embeds, negative_prompt_embeds, prompt_embeds[:, 0], negative_prompt_embeds[:, 0]

    pipe.encode_prompt = encode_prompt


CASES: dict[str, Case] = {
    "Kolors": Case(unet(**_SDXL), EULER, prepare=_encode_kolors),
    "LatentConsistencyModel": Case(unet(time_cond_proj_dim=32), ("LCMScheduler", BETAS)),
    "StableDiffusion3ControlNetInpaint": Case(
        {
            **dit("SD3Transformer2DModel", kl(0.1)),
            "controlnet": ("SD3ControlNetModel", {"extra_conditioning_channels": 1}),
        }
    ),
    "StableDiffusion3ControlNet": Case(
        {**dit("SD3Transformer2DModel", kl(0.1)), "controlnet": ("SD3ControlNetModel", {})}
    ),
    "StableDiffusion3Inpaint": Case(
        {
            "transformer": ("SD3Transformer2DModel", {"in_channels": 16, "out_channels": 16}),
            "vae": ("AutoencoderKL", {"shift_factor": 0.1, "latent_channels": 16}),
        }
    ),
    "StableDiffusion3PAG": Case(
        dit("SD3Transformer2DModel", kl(0.1)), components={"pag_applied_layers": "blocks.0"}
    ),
    "StableDiffusion3": Case(dit("SD3Transformer2DModel", kl(0.1))),
    "StableDiffusionDepth2Img": Case(unet(in_channels=5), DDIM, call={"depth_map": features(1, SIZE, SIZE)}),
    "StableDiffusionInstructPix2Pix": Case(unet(in_channels=8), DDIM),
    "StableDiffusionXL.*ControlNetXS": Case(
        {**unet(**_SDXL, layers_per_block=2), "controlnet": ("ControlNetXSAdapter", {})}, EULER
    ),
    "StableDiffusionXL.*ControlNet(?!Union)": Case(
        {**unet(**_SDXL), "controlnet": ("ControlNetModel", {})}, EULER
    ),
    "StableDiffusionXL(?!ControlNetUnion).*(Img2Img|Inpaint)": Case(
        unet(**_SDXL), EULER, components={"requires_aesthetics_score": False}
    ),
    "StableDiffusionXL(?!ControlNetUnion)": Case(unet(**_SDXL), EULER),
    "StableDiffusion.*ControlNetXS": Case(
        {**unet(layers_per_block=2), "controlnet": ("ControlNetXSAdapter", {})}, DDIM
    ),
    "StableDiffusion.*ControlNet(?!Union)": Case({**unet(), "controlnet": ("ControlNetModel", {})}, DDIM),
    "(Stable|Alt)Diffusion(?!LDM3D|XLControlNetUnion)": Case(unet(), DDIM),
}
