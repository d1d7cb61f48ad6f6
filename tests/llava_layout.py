"""A checkpoint in the layout of the LLaVA-NeXT code, as the authors' is, at a fraction of its size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tiny_generative import tokenizer
from torch import Tensor

WIDTH, LAYERS, FC = 64, 2, 96
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, TEXT_FC = 32, 2, 4, 48
SIDE, PATCH = 33, 14
"""As 384 and 14, no multiple of each other."""

TOWER = "model.vision_tower.vision_tower.vision_model."


def random_weights(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Weights under the authors' names, large enough that every part of the model shows in the logits."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.2

    def linear(name: str, out: int, into: int, bias: bool = True) -> dict[str, Tensor]:
        return {f"{name}.weight": matrix(out, into), **({f"{name}.bias": matrix(out)} if bias else {})}

    def norm(name: str, width: int, bias: bool = True) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + matrix(width), **({f"{name}.bias": matrix(width)} if bias else {})}

    weights = {
        f"{TOWER}embeddings.patch_embedding.weight": matrix(WIDTH, 3, PATCH, PATCH),
        f"{TOWER}embeddings.patch_embedding.bias": matrix(WIDTH),
        f"{TOWER}embeddings.position_embedding.weight": matrix((SIDE // PATCH) ** 2, WIDTH),
        **norm(f"{TOWER}post_layernorm", WIDTH),
    }
    for layer in range(LAYERS):
        name = f"{TOWER}encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            weights |= linear(f"{name}self_attn.{part}", WIDTH, WIDTH)
        weights |= linear(f"{name}mlp.fc1", FC, WIDTH) | linear(f"{name}mlp.fc2", WIDTH, FC)
        weights |= norm(f"{name}layer_norm1", WIDTH) | norm(f"{name}layer_norm2", WIDTH)
    weights |= linear("model.mm_projector.0", TEXT_WIDTH, WIDTH)
    weights |= linear("model.mm_projector.2", TEXT_WIDTH, TEXT_WIDTH)
    weights["model.image_newline"] = matrix(TEXT_WIDTH)
    weights["model.embed_tokens.weight"] = matrix(rows, TEXT_WIDTH)
    weights |= norm("model.norm", TEXT_WIDTH, bias=False)
    for layer in range(TEXT_LAYERS):
        name = f"model.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj"):
            weights |= linear(f"{name}self_attn.{part}", TEXT_WIDTH, TEXT_WIDTH)
        weights |= linear(f"{name}self_attn.o_proj", TEXT_WIDTH, TEXT_WIDTH, bias=False)
        for part in ("gate_proj", "up_proj"):
            weights |= linear(f"{name}mlp.{part}", TEXT_FC, TEXT_WIDTH, bias=False)
        weights |= linear(f"{name}mlp.down_proj", TEXT_WIDTH, TEXT_FC, bias=False)
        weights |= norm(f"{name}input_layernorm", TEXT_WIDTH, bias=False)
        weights |= norm(f"{name}post_attention_layernorm", TEXT_WIDTH, bias=False)
        weights[f"{name}self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    return weights


def write_layout(
    directory: Path,
    *,
    merge: str = "spatial_unpad",
    shards: int = 2,
    pickled: bool = False,
    tied: bool = True,
    spare_rows: int = 5,
    without: tuple[str, ...] = (),
    extra: dict[str, Tensor] | None = None,
    **settings: Any,
) -> dict[str, Tensor]:
    """Write a checkpoint and return its weights.

    Args:
        directory: Where to.
        merge: `mm_patch_merge_type`.
        shards: Files that the weights are spread over.
        pickled: Whether they are `.bin` rather than safetensors.
        tied: Whether words in and out share a matrix, which then stands once.
        spare_rows: Rows of the embedding that no token has.
        without: Tensors to leave out.
        extra: Tensors to put in.
        settings: What the configuration says otherwise.
    """
    directory.mkdir(parents=True)
    words = tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>")
    words.save_pretrained(directory)
    weights = random_weights(len(words) + spare_rows)
    if not tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0) * 1.5
    weights = {key: value for key, value in weights.items() if key not in without} | (extra or {})
    names = sorted(weights)
    for index in range(shards):
        part = {name: weights[name].clone() for name in names[index::shards]}
        stem = f"{index + 1:05d}-of-{shards:05d}"
        if pickled:
            torch.save(part, directory / f"pytorch_model-{stem}.bin")
        else:
            save_file(part, directory / f"model-{stem}.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": TEXT_FC,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": TEXT_HEADS,
        "num_key_value_heads": TEXT_HEADS,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "max_position_embeddings": 4096,
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "vocab_size": len(words) + spare_rows,
        "eos_token_id": words.eos_token_id,
        "mm_vision_tower": f"google/siglip-tiny-patch{PATCH}-{SIDE}",
        "mm_hidden_size": WIDTH,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_patch_merge_type": merge,
        **settings,
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return weights
