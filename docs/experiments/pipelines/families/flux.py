"""Flux, FLUX.2, and what is built like Flux."""

from __future__ import annotations

from typing import Any

from ...tiny_pipelines import SIZE
from ..case import WIDTH, Case, dit, kl

ROPE = {"attention_head_dim": 16, "num_attention_heads": 2}

FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    **ROPE,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 4, 8),
}

NETWORKS: dict[str, dict[str, Any]] = {
    "ChromaTransformer2DModel": {
        **FLUX,
        "approximator_hidden_dim": 32,
        "approximator_layers": 1,
        "approximator_num_channels": 16,
    },
    "Flux2Transformer2DModel": {
        **FLUX,
        "timestep_guidance_channels": 32,
        "axes_dims_rope": (4, 4, 4, 4),
    },
    "FluxControlNetModel": {**FLUX, "pooled_projection_dim": WIDTH},
    "FluxTransformer2DModel": {**FLUX, "pooled_projection_dim": WIDTH, "guidance_embeds": False},
    "OvisImageTransformer2DModel": {**FLUX, "out_channels": 16},
}


def _tell_guidance(pipe: Any) -> None:
    """One pipeline asks a setting that its transformer does not have."""
    pipe.transformer.register_to_config(guidance_embeds=False)


_FLUX_CONTROL = {"in_channels": 32, "out_channels": 16}

_FLUX2 = dit("Flux2Transformer2DModel", ("AutoencoderKLFlux2", {}))

CASES: dict[str, Case] = {
    "Flux2Klein": Case(_FLUX2, images=1),
    "Flux2": Case(_FLUX2, images=1),
    "FluxFill": Case(dit("FluxTransformer2DModel", kl(0.1), in_channels=16 + 16 + 64, out_channels=16)),
    "FluxControlNet": Case(
        {**dit("FluxTransformer2DModel", kl(0.1)), "controlnet": ("FluxControlNetModel", {})}
    ),
    "FluxControl": Case(dit("FluxTransformer2DModel", kl(0.1), **_FLUX_CONTROL)),
    "FluxKontext": Case(
        dit("FluxTransformer2DModel", kl(0.1)), call={"_auto_resize": False, "max_area": SIZE**2}
    ),
    "Flux": Case(dit("FluxTransformer2DModel", kl(0.1))),
    "Chroma": Case(dit("ChromaTransformer2DModel", kl(0.1)), prepare=_tell_guidance),
    "Ovis": Case(dit("OvisImageTransformer2DModel", kl(0.1)), call={"negative_prompt": None}),
}
