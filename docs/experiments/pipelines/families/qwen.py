"""Qwen-Image, and what shares its autoencoder."""

from __future__ import annotations

from typing import Any

from ..case import TOKENS, WIDTH, Case, dit
from .flux import ROPE

_QWEN_CONFIG: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 4,
    "num_layers": 1,
    **ROPE,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (8, 4, 4),
}

NETWORKS: dict[str, dict[str, Any]] = {
    "Krea2Transformer2DModel": {
        "in_channels": 16,
        "num_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "timestep_embed_dim": 8,
        "text_hidden_dim": WIDTH,
        "num_text_layers": 3,
        "text_num_attention_heads": 2,
        "text_num_key_value_heads": 1,
        "text_intermediate_size": 16,
        "num_layerwise_text_blocks": 1,
        "num_refiner_text_blocks": 1,
        "axes_dims_rope": (4, 2, 2),
    },
    "NucleusMoEImageTransformer2DModel": {
        **_QWEN_CONFIG,
        "num_attention_heads": 4,
        "moe_enabled": False,
        "capacity_factors": [8.0],
    },
    "QwenImage21Transformer2DModel": {
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 1,
        **ROPE,
        "context_in_dim": WIDTH,
        "axes_dims_rope": (8, 4, 4),
    },
    "QwenImageControlNetModel": _QWEN_CONFIG,
    "QwenImageTransformer2DModel": {**_QWEN_CONFIG, "guidance_embeds": False},
}


class _Processor:
    """In the place of a processor of texts."""

    class tokenizer:
        @staticmethod
        def encode(text: str) -> list[int]:
            return [0]

    def apply_chat_template(self, messages: Any, **settings: Any) -> list[list[int]]:
        return [[0]]


_QWEN = dit("QwenImageTransformer2DModel", ("AutoencoderKLQwenImage", {}))

CASES: dict[str, Case] = {
    "Krea2": Case(
        dit("Krea2Transformer2DModel", ("AutoencoderKLQwenImage", {})),
        components={"text_encoder_select_layers": (0, 1, 2)},
        embeddings={"prompt_embeds": (TOKENS, 3, WIDTH), "negative_prompt_embeds": (TOKENS, 3, WIDTH)},
    ),
    "NucleusMoE": Case(dit("NucleusMoEImageTransformer2DModel", ("AutoencoderKLQwenImage", {}))),
    "QwenImage21": Case(
        dit("QwenImage21Transformer2DModel", ("AutoencoderKLQwenImage21", {})),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}),
        components={"processor": _Processor()},
    ),
    "QwenImageControlNetInpaint": Case(
        {**_QWEN, "controlnet": ("QwenImageControlNetModel", {"extra_condition_channels": 4})}
    ),
    "QwenImageControlNet": Case({**_QWEN, "controlnet": ("QwenImageControlNetModel", {})}),
    "QwenImage(?!Edit|Layered)": Case(_QWEN),
}
