"""The model: a MobileNet and a small CLIP text tower, in transformers' own classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    MobileNetV2Config,
    MobileNetV2Model,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from unisim_metrics.images import Preprocessing

from .recipe import Recipe


def build_tokenizer(texts: Iterable[str], recipe: Recipe) -> CLIPTokenizer:
    """Learn a byte-level BPE vocabulary from `texts`, with CLIP's own splitting and special tokens."""
    blank = CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[])
    tokenizer = blank.train_new_from_iterator(
        texts, vocab_size=recipe.tokenizer.vocab_size, show_progress=False
    )
    tokenizer.model_max_length = recipe.tokenizer.context_length
    return cast(CLIPTokenizer, tokenizer)


def build_two_towers(
    tower: MobileNetV2Model, tokenizer: CLIPTokenizer, recipe: Recipe
) -> VisionTextDualEncoderModel:
    """Join an image tower and a text tower of random weights."""
    text = CLIPTextConfig(
        **dataclasses.asdict(recipe.text),
        vocab_size=len(tokenizer),
        max_position_embeddings=recipe.tokenizer.context_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        tower.config, text, projection_dim=recipe.text.projection_dim
    )
    return VisionTextDualEncoderModel(config, vision_model=tower, text_model=CLIPTextModel(text))


def vision_config(model: VisionTextDualEncoderModel) -> MobileNetV2Config:
    """The image tower's own settings inside those of the pair."""
    return cast(MobileNetV2Config, model.config.vision_config)


def preprocessing(model: VisionTextDualEncoderModel) -> Preprocessing:
    """How the model's images are prepared: the square centre, pixels in [-1, 1]."""
    half = (0.5, 0.5, 0.5)
    return Preprocessing(size=cast(int, vision_config(model).image_size), mean=half, std=half)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> dict[str, Tensor]:
    """Return `input_ids` and `attention_mask`, padded to the longest of `texts`."""
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return {key: encoded[key] for key in ("input_ids", "attention_mask")}


def text_embeddings(model: VisionTextDualEncoderModel, tokens: dict[str, Tensor]) -> Tensor:
    """Return unit-length text embeddings `[N, D]`."""
    return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)


def image_embeddings(model: VisionTextDualEncoderModel, pixels: Tensor) -> Tensor:
    """Return unit-length image embeddings `[N, D]` of prepared pixels."""
    # Convolutions on CPUs are some 1.5 times as fast with the channels last.
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)


def save(model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a stage's result as a transformers directory: weights, tokenizer, image processor."""
    prepared = preprocessing(model)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": prepared.size},
        crop_size={"height": prepared.size, "width": prepared.size},
        image_mean=list(prepared.mean),
        image_std=list(prepared.std),
    ).save_pretrained(folder)
    model.save_pretrained(folder)


def load(folder: Path) -> tuple[VisionTextDualEncoderModel, CLIPTokenizer]:
    """Read what `save` wrote, ready to train on: the MobileNet keeps the statistics that it came with."""
    model = VisionTextDualEncoderModel.from_pretrained(folder, trust_remote_code=False).train()
    model.vision_model.eval()
    return model, CLIPTokenizer.from_pretrained(folder, trust_remote_code=False)
