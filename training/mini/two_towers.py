"""The model: EfficientNet-Lite2 and MiniLM with a seventh layer, in transformers' own classes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    BertModel,
    CLIPImageProcessor,
    EfficientNetModel,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from .efficientnet import MEAN, SIZE, STD, upper


def build_two_towers(
    image_tower: EfficientNetModel, text_tower: BertModel, width: int
) -> VisionTextDualEncoderModel:
    """Join the towers by projections of random weights to a common embedding of so many dimensions."""
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        image_tower.config, text_tower.config, projection_dim=width
    )
    return VisionTextDualEncoderModel(config, vision_model=image_tower, text_model=text_tower)


@torch.no_grad()
def start_projections(model: VisionTextDualEncoderModel, classifier: Tensor, features: Tensor) -> None:
    """Start the image projection as the directions in which the classifier tells classes apart.

    It is blind to the direction that all features share: they are averages of values that are never negative, and
    those of any two photos would be alike.

    Args:
        model: The pair, changed in place.
        classifier: The weight of the image tower's classifier, `[K, C]`.
        features: Pooled features of photos, `[N, C]`.
    """
    projection: nn.Linear = model.visual_projection
    directions = torch.linalg.svd(classifier - classifier.mean(dim=0), full_matrices=False)[2]
    directions = directions[: projection.out_features]
    if len(directions) < projection.out_features:
        raise ValueError(f"Setting bridge.width must be at most the number of classes, {len(directions)}.")
    shared = F.normalize(features.mean(dim=0), dim=0)
    projection.weight.copy_(directions - torch.outer(directions @ shared, shared))
    # The pooler starts at a hundredth, where its tanh is linear; this brings it back.
    nn.init.normal_(model.text_projection.weight, std=5.0)


def image_embeddings(model: VisionTextDualEncoderModel, features: Tensor) -> Tensor:
    """Project pooled features `[N, C]` of the image tower: unit length, `[N, D]`."""
    return F.normalize(model.visual_projection(features), dim=-1)


def upper_features(model: VisionTextDualEncoderModel, activations: Tensor, frozen_blocks: int) -> Tensor:
    """Pass activations of the frozen blocks through the rest of the image tower: pooled features `[N, C]`."""
    # Convolutions on CPUs are some 1.5 times as fast with the channels last.
    hidden = activations.float().contiguous(memory_format=torch.channels_last)
    return upper(cast(EfficientNetModel, model.vision_model), hidden, frozen_blocks)


def save(model: VisionTextDualEncoderModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a stage's result as a transformers directory: weights, tokenizer, image processor."""
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    ).save_pretrained(folder)
    model.save_pretrained(folder)


def load(folder: Path) -> tuple[VisionTextDualEncoderModel, PreTrainedTokenizerFast]:
    """Read what `save` wrote, in evaluation mode: the image tower keeps the statistics that it came with."""
    model = VisionTextDualEncoderModel.from_pretrained(folder, trust_remote_code=False).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
