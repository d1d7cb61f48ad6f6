"""The recipe of `unisim-mini` as typed values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisim_metrics.prompts import Wording

from ..recipe import build, read_table


@dataclass(frozen=True)
class Teacher:
    """Stage 0: the teacher's TFLite file under the data root, and how many views of a photo it reads."""

    file: str
    views: int
    bsds_views: int


@dataclass(frozen=True)
class Tokenizer:
    """The vocabulary that the captions are cut into."""

    vocab_size: int
    context_length: int


@dataclass(frozen=True)
class Text:
    """The text tower, in the words of `CLIPTextConfig`, and the width of the common embedding."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    projection_dim: int


@dataclass(frozen=True)
class Align:
    """Stage 1: text tower against the teacher's features."""

    steps: int
    caption_batch: int
    class_batch: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    temperature: float
    relation_weight: float


@dataclass(frozen=True)
class Weights:
    """What each loss of stage 2 counts; 0 leaves it out."""

    material: float
    similarity: float
    image_text: float
    caption: float
    quality: float
    attributes: float
    anchor: float


@dataclass(frozen=True)
class Perceptual:
    """Stage 2: both towers by the hinge objective, what a step is made of, and whose texts say what is judged."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    image_size: int
    frozen_blocks: int
    caption_batch: int
    class_batch: int
    photo_batch: int
    material_batch: int
    distortion_batch: int
    sharp_share: float
    smallest_crop: int
    margin: float
    temperature: float
    weights: Weights
    prompts: Wording = "authors"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, next to the data and the teacher."""

    name: str
    seed: int
    teacher: Teacher
    tokenizer: Tokenizer
    text: Text
    align: Align
    perceptual: Perceptual


def is_of_two_towers(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's settings are for this trainer rather than the CLIP trainer's."""
    return "teacher" in table and "base" not in table


def read_recipe(name_or_path: str | Path = "unisim-mini", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of two towers; arguments and errors are those of the CLIP trainer's `read_recipe`."""
    return build(Recipe, read_table(name_or_path, overrides))
