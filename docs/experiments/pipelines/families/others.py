"""Families of one pipeline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ..case import TOKENS, WIDTH, Case, dit, features, kl
from .flux import ROPE

NETWORKS: dict[str, dict[str, Any]] = {
    "AuraFlowTransformer2DModel": {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 4,
        "num_mmdit_layers": 1,
        "num_single_dit_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "caption_projection_dim": 32,
        "joint_attention_dim": WIDTH,
        "out_channels": 4,
        "pos_embed_max_size": 256,
    },
    "CosmosTransformer3DModel": {
        "in_channels": 4,
        "out_channels": 4,
        **ROPE,
        "num_layers": 1,
        "mlp_ratio": 2,
        "text_embed_dim": WIDTH,
        "adaln_lora_dim": 4,
        "max_size": (4, 32, 32),
        "patch_size": (1, 2, 2),
        "rope_scale": (2.0, 1.0, 1.0),
    },
    "ErnieImageTransformer2DModel": {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_layers": 1,
        "ffn_hidden_size": 32,
        "in_channels": 16,
        "out_channels": 16,
        "text_in_dim": WIDTH,
        "rope_axes_dim": (8, 4, 4),
    },
    "HiDreamImageTransformer2DModel": {
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "caption_channels": [WIDTH, WIDTH],
        "text_emb_dim": WIDTH,
        "num_routed_experts": 4,
        "num_activated_experts": 2,
        "axes_dims_rope": (4, 2, 2),
        "max_resolution": (16, 16),
        "llama_layers": (0, 1),
    },
    "Ideogram4Transformer2DModel": {
        "in_channels": 16,
        "num_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "adaln_dim": 16,
        "llm_features_dim": WIDTH,
        "mrope_section": (4, 2, 2),
    },
    "JoyImageEditTransformer3DModel": {
        "patch_size": [1, 2, 2],
        "in_channels": 4,
        "hidden_size": 32,
        "num_attention_heads": 2,
        "text_dim": WIDTH,
        "num_layers": 1,
        "rope_dim_list": [4, 6, 6],
    },
    "OmniGenTransformer2DModel": {
        "hidden_size": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 32,
        "num_layers": 1,
        "in_channels": 4,
        "time_step_dim": 4,
        "rope_scaling": {"long_factor": [1, 2], "short_factor": [1, 2]},
    },
    "PRXTransformer2DModel": {
        "patch_size": 2,
        "in_channels": 4,
        "context_in_dim": WIDTH,
        "hidden_size": 8,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 1,
        "axes_dim": [2, 2],
    },
    "StableCascadeUNet": {
        "conditioning_dim": 16,
        "block_out_channels": (16, 32),
        "in_channels": 4,
        "out_channels": 4,
        "down_num_layers_per_block": [1, 1],
        "up_num_layers_per_block": [1, 1],
        "down_blocks_repeat_mappers": [1, 1],
        "up_blocks_repeat_mappers": [1, 1],
        "block_types_per_layer": [
            ["SDCascadeResBlock", "SDCascadeTimestepBlock"],
            ["SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"],
        ],
        "switch_level": None,
        "clip_text_pooled_in_channels": WIDTH,
        "dropout": [0.1, 0.1],
        "effnet_in_channels": 4,
    },
}


class _Unchecked:
    """In the place of a safety checker."""

    def to(self, device: Any) -> None:
        pass

    def check_text_safety(self, text: str) -> bool:
        return True

    def check_video_safety(self, frames: Any) -> Any:
        return frames


class _Tokenizer:
    """In the place of a tokenizer."""

    model_max_length = TOKENS

    def __call__(self, text: str) -> Any:
        return SimpleNamespace(input_ids=[1, 2, 3])


def _stay_small_by_default(pipe: Any) -> None:
    """One pipeline brings every size to about that which it was trained for."""
    pipe.default_sample_size = 16


def _encode_ideogram(pipe: Any) -> None:
    def encode_prompt(
        prompt: Any, grid_h: int, grid_w: int, max_sequence_length: int, device: Any
    ) -> tuple[Any, ...]:
        count = 1 if isinstance(prompt, str) else len(prompt)
        text = features(1, max_sequence_length, WIDTH).repeat(count, 1, 1)
        states = torch.cat([text, torch.zeros(count, grid_h * grid_w, WIDTH)], dim=1)
        ids = pipe._prepare_ids([max_sequence_length] * count, grid_h, grid_w, max_sequence_length, device)
        return (states, *ids)

    pipe.encode_prompt = encode_prompt


CASES: dict[str, Case] = {
    "AuraFlow": Case(dit("AuraFlowTransformer2DModel", kl())),
    "Cosmos2TextToImage": Case(
        dit("CosmosTransformer3DModel", ("AutoencoderKLWan", {})),
        ("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True}),
        components={"safety_checker": _Unchecked()},
    ),
    "ErnieImage": Case(dit("ErnieImageTransformer2DModel", ("AutoencoderKLFlux2", {}))),
    "HiDream": Case(
        dit("HiDreamImageTransformer2DModel", kl(0.1)),
        embeddings={f"{sign}prompt_embeds_llama3": None for sign in ("", "negative_")},
        call={f"{sign}prompt_embeds_llama3": features(2, 1, TOKENS, WIDTH) for sign in ("", "negative_")},
        prepare=_stay_small_by_default,
        images=1,
    ),
    "Ideogram4": Case(
        {
            **dit("Ideogram4Transformer2DModel", ("AutoencoderKLFlux2", {})),
            "unconditional_transformer": ("Ideogram4Transformer2DModel", {}),
        },
        call={
            "prompt": "a fox",
            "max_sequence_length": TOKENS,
            "guidance_schedule": None,
            "guidance_scale": 3.0,
        },
        prepare=_encode_ideogram,
        images=1,
    ),
    "OmniGen": Case(
        dit("OmniGenTransformer2DModel", ("AutoencoderKL", {"levels": 4})),
        components={"tokenizer": _Tokenizer()},
        call={"prompt": "a fox"},
        images=1,
    ),
    "PRXPixel": Case({"transformer": ("PRXTransformer2DModel", {"in_channels": 3})}, images=1),
    "PRX": Case(dit("PRXTransformer2DModel", kl(0.1)), images=1),
    "StableCascadeDecoder": Case(
        {"decoder": ("StableCascadeUNet", {}), "vqgan": ("PaellaVQModel", {})},
        ("DDPMWuerstchenScheduler", {}),
        embeddings={
            "image_embeddings": (4, 4, 4),
            "prompt_embeds": (TOKENS, WIDTH),
            "prompt_embeds_pooled": (1, WIDTH),
            "negative_prompt_embeds": (TOKENS, WIDTH),
            "negative_prompt_embeds_pooled": (1, WIDTH),
        },
    ),
}
