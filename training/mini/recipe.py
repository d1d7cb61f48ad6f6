"""The recipe of `unisim-mini` as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recipe import build, read_table


@dataclass(frozen=True)
class ViewPlan:
    """Stage 0: what the image tower sees of the training photos, and how much of the tower stays as it came."""

    frozen_blocks: int
    views: int
    ladders: int
    distortions: int
    sharp_share: float
    smallest_crop: int


@dataclass(frozen=True)
class TextPlan:
    """Stage 0: how long a text may be, how many texts stand for a class, and how many other nouns there are."""

    context_length: int
    of_each: int
    nouns: int


@dataclass(frozen=True)
class BridgeWeights:
    """What each loss of stage 1 counts; 0 leaves it out."""

    captions: float
    caption_relations: float
    classes: float
    names: float
    kinds: float
    text_relations: float
    image_relations: float
    class_relations: float


@dataclass(frozen=True)
class Bridge:
    """Stage 1: the bridge between MiniLM and the image tower, both frozen."""

    width: int
    steps: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    caption_batch: int
    synthetic_batch: int
    photo_batch: int
    kind_batch: int
    text_batch: int
    temperature: float
    dropout: float
    weights: BridgeWeights


@dataclass(frozen=True)
class PerceptualWeights:
    """What each loss of stage 2 counts; 0 leaves it out."""

    material: float
    similarity: float
    image_text: float
    caption: float
    classes: float
    people: float
    quality: float
    attributes: float
    class_relations: float
    image_anchor: float
    text_anchor: float


@dataclass(frozen=True)
class Perceptual:
    """Stage 2: the upper blocks and the bridge by the hinge objective, and what a step is made of."""

    steps: int
    learning_rate: float
    bridge_learning_rate: float
    weight_decay: float
    warmup_steps: int
    caption_batch: int
    photo_batch: int
    class_batch: int
    people_batch: int
    material_batch: int
    ladder_batch: int
    text_batch: int
    margin: float
    temperature: float
    weights: PerceptualWeights


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, next to the data and the towers as they came."""

    name: str
    seed: int
    views: ViewPlan
    texts: TextPlan
    bridge: Bridge
    perceptual: Perceptual


def is_of_two_towers(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's settings are for this trainer rather than the CLIP trainer's."""
    return "bridge" in table and "base" not in table


def read_recipe(name_or_path: str | Path = "unisim-mini", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of two towers; arguments and errors are those of the CLIP trainer's `read_recipe`."""
    return build(Recipe, read_table(name_or_path, overrides))
