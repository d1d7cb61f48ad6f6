"""Hunyuan-DiT and HunyuanImage."""

from __future__ import annotations

from typing import Any

from ..case import WIDTH, Case, dit

_HUNYUAN_DIT_CONFIG: dict[str, Any] = {
    "sample_size": 8,
    "patch_size": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 3,
    "in_channels": 4,
    "cross_attention_dim": WIDTH,
    "cross_attention_dim_t5": WIDTH,
    "pooled_projection_dim": 16,
    "hidden_size": 24,
    "activation_fn": "gelu-approximate",
}

_HUNYUAN_IMAGE_CONFIG: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 4,
    "attention_head_dim": 8,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "patch_size": (1, 1),
    "text_embed_dim": WIDTH,
    "text_embed_2_dim": WIDTH,
    "rope_axes_dim": (4, 4),
}

NETWORKS: dict[str, dict[str, Any]] = {
    "HunyuanDiT2DControlNetModel": {**_HUNYUAN_DIT_CONFIG, "transformer_num_layers": 2},
    "HunyuanDiT2DModel": {**_HUNYUAN_DIT_CONFIG, "num_layers": 2},
    "HunyuanImageTransformer2DModel": _HUNYUAN_IMAGE_CONFIG,
}

_HUNYUAN_DIT_TEXTS: dict[str, tuple[int, ...] | None] = {
    f"{sign}prompt_{name}{number}": shape
    for sign in ("", "negative_")
    for number, tokens in (("", 77), ("_2", 256))
    for name, shape in (("embeds", (tokens, WIDTH)), ("attention_mask", (tokens,)))
}

_HUNYUAN_DIT = dit("HunyuanDiT2DModel", ("AutoencoderKL", {"levels": 4}))

_HUNYUAN_IMAGE = "HunyuanImageTransformer2DModel"

CASES: dict[str, Case] = {
    "HunyuanDiTControlNet": Case(
        {**_HUNYUAN_DIT, "controlnet": ("HunyuanDiT2DControlNetModel", {})},
        ("DDPMScheduler", {}),
        embeddings=_HUNYUAN_DIT_TEXTS,
    ),
    "HunyuanDiT": Case(_HUNYUAN_DIT, ("DDPMScheduler", {}), embeddings=_HUNYUAN_DIT_TEXTS),
    "HunyuanImageRefiner": Case(
        dit(
            _HUNYUAN_IMAGE,
            ("AutoencoderKLHunyuanImageRefiner", {}),
            in_channels=16,
            out_channels=8,
            patch_size=(1, 1, 1),
            rope_axes_dim=(2, 2, 4),
            text_embed_2_dim=None,
        ),
        images=1,
    ),
    "HunyuanImage": Case(dit(_HUNYUAN_IMAGE, ("AutoencoderKLHunyuanImage", {})), images=1),
}
