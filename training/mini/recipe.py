"""The recipe of `unisim-mini` as typed values, read from its TOML file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECIPE = Path(__file__).parent.parent / "recipes" / "unisim-mini.toml"


@dataclass(frozen=True)
class Align:
    """Stage 1: text tower against the teacher's features."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    temperature: float
    relation_weight: float


@dataclass(frozen=True)
class Perceptual:
    """Stage 2: both towers by the hinge objective, and what a step is made of."""

    steps: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    frozen_blocks: int
    caption_batch: int
    photo_batch: int
    material_batch: int
    distortion_batch: int
    sharp_share: float
    smallest_crop: int
    margin: float
    temperature: float
    hinge_weight: float
    contrast_weight: float
    anchor_weight: float


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, next to the data and the teacher."""

    name: str
    seed: int
    tokenizer: dict[str, int]
    text: dict[str, int]
    projection_dim: int
    align: Align
    perceptual: Perceptual


def read_recipe(path: Path = RECIPE) -> Recipe:
    """Read a recipe; an unknown or missing key is a `TypeError`."""
    values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return Recipe(
        name=values["name"],
        seed=values["seed"],
        tokenizer=values["tokenizer"],
        text=values["text"],
        projection_dim=values["model"]["projection_dim"],
        align=Align(**values["align"]),
        perceptual=Perceptual(**values["perceptual"]),
    )
