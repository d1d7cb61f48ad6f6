"""Sana."""

from __future__ import annotations

from typing import Any

from ..case import WIDTH, Case, dit

_SANA_CONFIG: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 4,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 4,
    "cross_attention_dim": 8,
    "caption_channels": WIDTH,
    "sample_size": 32,
}

NETWORKS: dict[str, dict[str, Any]] = {
    "SanaControlNetModel": _SANA_CONFIG,
    "SanaTransformer2DModel": _SANA_CONFIG,
}

_SANA = dit("SanaTransformer2DModel", ("AutoencoderDC", {}))

CASES: dict[str, Case] = {
    "SanaControlNet": Case(
        {**_SANA, "controlnet": ("SanaControlNetModel", {})}, call={"negative_prompt": None}
    ),
    "SanaSprint": Case(
        dit(
            "SanaTransformer2DModel",
            ("AutoencoderDC", {}),
            guidance_embeds=True,
            qk_norm="rms_norm_across_heads",
        ),
        ("SCMScheduler", {}),
        call={"intermediate_timesteps": None},
    ),
    "SanaPAG": Case(_SANA, components={"pag_applied_layers": "blocks.0"}, call={"negative_prompt": None}),
    "Sana": Case(_SANA, call={"negative_prompt": None}),
}
