"""Lumina and Z-Image."""

from __future__ import annotations

from typing import Any

from ..case import WIDTH, Case, dit, kl

_Z_IMAGE_CONFIG: dict[str, Any] = {
    "all_patch_size": (2,),
    "all_f_patch_size": (1,),
    "dim": 32,
    "n_refiner_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 2,
}

NETWORKS: dict[str, dict[str, Any]] = {
    "Lumina2Transformer2DModel": {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 4,
        "hidden_size": 8,
        "num_layers": 1,
        "num_attention_heads": 1,
        "num_kv_heads": 1,
        "multiple_of": 16,
        "axes_dim_rope": [4, 2, 2],
        "cap_feat_dim": WIDTH,
    },
    "LuminaNextDiT2DModel": {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 4,
        "hidden_size": 4,
        "num_layers": 1,
        "num_attention_heads": 1,
        "num_kv_heads": 1,
        "multiple_of": 16,
        "cross_attention_dim": WIDTH,
    },
    "ZImageTransformer2DModel": {
        **_Z_IMAGE_CONFIG,
        "in_channels": 4,
        "n_layers": 2,
        "cap_feat_dim": WIDTH,
        "axes_dims": [8, 4, 4],
        "axes_lens": [256, 32, 32],
    },
    "ZImageControlNetModel": {
        **_Z_IMAGE_CONFIG,
        "control_layers_places": [0, 1],
        "control_refiner_layers_places": [0],
        "control_in_dim": 4,
        "add_control_noise_refiner": "control_noise_refiner",
    },
}

CASES: dict[str, Case] = {
    "Lumina2": Case(dit("Lumina2Transformer2DModel", kl(0.1))),
    "Lumina": Case(dit("LuminaNextDiT2DModel", kl())),
    "ZImageControlNetInpaint": Case(
        {
            **dit("ZImageTransformer2DModel", kl(0.1)),
            "controlnet": ("ZImageControlNetModel", {"control_in_dim": 9}),
        },
        images=1,
        lists=True,
    ),
    "ZImageControlNet": Case(
        {**dit("ZImageTransformer2DModel", kl(0.1)), "controlnet": ("ZImageControlNetModel", {})},
        lists=True,
    ),
    "ZImage(?!Omni)": Case(dit("ZImageTransformer2DModel", kl(0.1)), lists=True),
}
