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
    """Stage 1: text tower against the teacher's embedding."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    temperature: float
    relation_weight: float


@dataclass(frozen=True)
class DistillPhase:
    """A part of stage 2 at one input size."""

    image_size: int
    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int


@dataclass(frozen=True)
class Distill:
    """Stage 2: image tower against the teacher's features."""

    weight_decay: float
    grid_weight: float
    pooled_weight: float
    class_weight: float
    embedding_weight: float
    phases: tuple[DistillPhase, ...]


@dataclass(frozen=True)
class PerceptualPhase:
    """A part of stage 3: its steps and what a step is made of."""

    steps: int
    learning_rate: float
    warmup_steps: int
    caption_batch: int
    material_batch: int
    distortion_batch: int
    contrast_weight: float
    sharp_share: float
    smallest_crop: int


@dataclass(frozen=True)
class Perceptual:
    """Stage 3: both towers by the hinge objective."""

    weight_decay: float
    margin: float
    temperature: float
    hinge_weight: float
    anchor_weight: float
    phases: tuple[PerceptualPhase, ...]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, next to the data and the teacher."""

    name: str
    seed: int
    tokenizer: dict[str, int]
    vision: dict[str, int]
    text: dict[str, int]
    projection_dim: int
    align: Align
    distill: Distill
    perceptual: Perceptual


def read_recipe(path: Path = RECIPE) -> Recipe:
    """Read a recipe; an unknown or missing key is a `TypeError`."""
    values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    distill, perceptual = values["distill"], values["perceptual"]
    distill["phases"] = tuple(DistillPhase(**phase) for phase in distill["phases"])
    perceptual["phases"] = tuple(PerceptualPhase(**phase) for phase in perceptual["phases"])
    return Recipe(
        name=values["name"],
        seed=values["seed"],
        tokenizer=values["tokenizer"],
        vision=values["vision"],
        text=values["text"],
        projection_dim=values["model"]["projection_dim"],
        align=Align(**values["align"]),
        distill=Distill(**distill),
        perceptual=Perceptual(**perceptual),
    )
