"""The student: a small CLIP with a BPE tokenizer of its own, both in transformers' formats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from unisim_metrics.training.mini.recipe import Recipe


def build_tokenizer(texts: Iterable[str], recipe: Recipe) -> CLIPTokenizer:
    """Learn a byte-level BPE vocabulary from `texts`, with CLIP's own splitting and special tokens."""
    blank = CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[])
    tokenizer = blank.train_new_from_iterator(
        texts, vocab_size=recipe.tokenizer["vocab_size"], show_progress=False
    )
    tokenizer.model_max_length = recipe.tokenizer["context_length"]
    return cast(CLIPTokenizer, tokenizer)


def build_student(tokenizer: CLIPTokenizer, recipe: Recipe) -> CLIPModel:
    """Build the student with random weights."""
    text = {
        **recipe.text,
        "projection_dim": recipe.projection_dim,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": recipe.tokenizer["context_length"],
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**recipe.vision, "projection_dim": recipe.projection_dim}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.projection_dim)
    return CLIPModel(config)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> dict[str, Tensor]:
    """Return `input_ids` and `attention_mask`, padded to the longest of `texts`."""
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return {key: encoded[key] for key in ("input_ids", "attention_mask")}


def text_embeddings(model: CLIPModel, tokens: dict[str, Tensor]) -> Tensor:
    """Return unit-length text embeddings `[N, D]`."""
    return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)


def normalize_pixels(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels `[N, 3, H, W]` into the float input of the image tower."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (pixels.float() / 255 - mean) / std


def image_features(model: CLIPModel, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Run the image tower on normalised pixels of any size that the patch size divides.

    Returns:
        The unit-length embeddings `[N, D]`, the pooled class token `[N, H]` and the patch tokens
        `[N, P, H]`.
    """
    interpolate = pixels.shape[-1] != model.config.vision_config.image_size
    out = model.vision_model(pixel_values=pixels, interpolate_pos_encoding=interpolate)
    embeddings = F.normalize(model.visual_projection(out.pooler_output), dim=-1)
    return embeddings, out.pooler_output, out.last_hidden_state[:, 1:]


class DistillationHeads(nn.Module):
    """Linear readings of the image tower that meet the teacher's features; dropped after training."""

    def __init__(self, hidden_size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.grid = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, channels))
        self.pooled = nn.Linear(hidden_size, channels)
        self.classes = nn.Linear(hidden_size, classes)
