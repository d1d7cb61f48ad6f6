"""Kandinsky 2.2, 3 and 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from ...tiny_pipelines import SIZE
from ..case import BETAS, TOKENS, WIDTH, Case, dit

NETWORKS: dict[str, dict[str, Any]] = {
    "Kandinsky3UNet": {
        "in_channels": 4,
        "time_embedding_dim": 4,
        "groups": 2,
        "attention_head_dim": 4,
        "layers_per_block": 3,
        "block_out_channels": (32, 64),
        "cross_attention_dim": 4,
        "encoder_hid_dim": WIDTH,
    },
    "Kandinsky5Transformer3DModel": {
        "in_visual_dim": 4,
        "in_text_dim": WIDTH,
        "in_text_dim2": WIDTH,
        "time_dim": 16,
        "out_visual_dim": 4,
        "patch_size": (1, 2, 2),
        "model_dim": 16,
        "ff_dim": 32,
        "num_text_blocks": 1,
        "num_visual_blocks": 1,
        "axes_dims": (1, 1, 2),
        "visual_cond": False,
        "attention_type": "regular",
    },
}

_KANDINSKY = {
    "out_channels": 8,
    "addition_embed_type": "image",
    "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "image_proj",
    "projection_class_embeddings_input_dim": WIDTH,
}


def stay_small(pipe: Any) -> None:
    """One pipeline knows but a few sizes."""
    pipe.resolutions = [(SIZE, SIZE)]


def _kandinsky_5(**config: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    vae = ("AutoencoderKL", {"shift_factor": 0.1, "levels": 4})
    return dit("Kandinsky5Transformer3DModel", vae, **config)


_KANDINSKY_5 = Case(
    _kandinsky_5(),
    embeddings={
        f"{sign}prompt_{name}": shape
        for sign in ("", "negative_")
        for name, shape in (("embeds_qwen", (TOKENS, WIDTH)), ("embeds_clip", (WIDTH,)))
    },
    call={
        f"{sign}prompt_cu_seqlens": torch.tensor([0, TOKENS], dtype=torch.int32) for sign in ("", "negative_")
    },
    images=1,
    prepare=stay_small,
)

CASES: dict[str, Case] = {
    "Kandinsky3": Case(
        {"unet": ("Kandinsky3UNet", {}), "movq": ("VQModel", {})},
        ("DDPMScheduler", BETAS),
        embeddings={"attention_mask": (TOKENS,), "negative_attention_mask": (TOKENS,)},
        images=1,
    ),
    "Kandinsky5I2I": replace(_KANDINSKY_5, networks=_kandinsky_5(visual_cond=True)),
    "Kandinsky5": _KANDINSKY_5,
    "KandinskyV22Inpaint(?!Combined)": Case(
        {
            "unet": ("UNet2DConditionModel", {**_KANDINSKY, "in_channels": 9}),
            "movq": ("VQModel", {}),
        },
        ("DDPMScheduler", {**BETAS, "variance_type": "learned_range"}),
        call={"mask_image": Image.new("L", (SIZE, SIZE), 255)},  # after its last step it pastes again
        images=1,
        embeddings={"image_embeds": (WIDTH,), "negative_image_embeds": (WIDTH,)},
    ),
    "KandinskyV22(?!.*Combined)": Case(
        {"unet": ("UNet2DConditionModel", _KANDINSKY), "movq": ("VQModel", {})},
        ("DDPMScheduler", {**BETAS, "variance_type": "learned_range"}),
        embeddings={"image_embeds": (WIDTH,), "negative_image_embeds": (WIDTH,)},
    ),
}
