"""Bria and Bria Fibo."""

from __future__ import annotations

from typing import Any

import torch

from ..case import TOKENS, WIDTH, Case, dit, features, kl
from .flux import FLUX

NETWORKS: dict[str, dict[str, Any]] = {
    "BriaFibo2Transformer2DModel": {
        "in_channels": 4,
        "dim": 32,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "cap_feat_dim": WIDTH,
        "injection_layer_ids": (0, 1),
        "perceiver_num_layers": 1,
        "min_num_gist_tokens": 4,
        "max_num_gist_tokens": 8,
        "gist_step": 2,
        "gist_min_text_len": 4,
        "gist_max_text_len": 16,
        "axes_dims": (8, 4, 4),
        "axes_lens": (256, 32, 32),
    },
    "BriaFiboTransformer2DModel": {
        **FLUX,
        "in_channels": 4,
        "joint_attention_dim": 2 * WIDTH,
        "text_encoder_dim": WIDTH,
        "pooled_projection_dim": None,
    },
    "BriaTransformer2DModel": {**FLUX, "pooled_projection_dim": None},
}

_WAN_16 = ("AutoencoderKLWan", {"patch_size": 2, "in_channels": 12, "out_channels": 12})


def _encode_fibo(pipe: Any) -> None:
    def encode_prompt(prompt: Any, num_images_per_prompt: int = 1, **rest: Any) -> tuple[Any, ...]:
        count = num_images_per_prompt * (1 if isinstance(prompt, str) else len(prompt))
        mask = torch.ones(count, TOKENS)
        drawn = [features(1, TOKENS, 2 * WIDTH, seed=seed).repeat(count, 1, 1) for seed in (0, 1)]
        layers = [[part[..., :WIDTH]] * 2 for part in drawn]
        return (*drawn, torch.zeros(TOKENS, 3), mask, mask, *layers)

    pipe.encode_prompt = encode_prompt


CASES: dict[str, Case] = {
    "BriaFibo2": Case(
        dit("BriaFibo2Transformer2DModel", ("AutoencoderKLFlux2", {})),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
        embeddings={f"{sign}prompt_embeds": (3, TOKENS, WIDTH) for sign in ("", "negative_")},
        images=1,
    ),
    "BriaFiboEdit": Case(
        dit("BriaFiboTransformer2DModel", _WAN_16),
        prepare=_encode_fibo,
        call={"prompt": '{"edit_instruction": "a fox"}'},
        images=1,
    ),
    "BriaFibo": Case(
        dit("BriaFiboTransformer2DModel", _WAN_16),
        prepare=_encode_fibo,
        call={"prompt": '{"text": "a fox"}'},
        images=1,
    ),
    "Bria": Case(dit("BriaTransformer2DModel", kl(0.1))),
}
