"""The recipe of `unisim-ll-mini` as typed values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...recipe import ValidationSettings, build, read_table
from .. import recipe as generative
from ..instructions import Wording

# The card of the model names its data by these.
QUALITY, SIMILARITY = "bsds400-flickr8k-quality.jsonl", "bsds400-flickr8k-similarity.jsonl"


@dataclass(frozen=True)
class Triplets:
    """What is made of the photos.

    Attributes:
        image_size: Side of the images, in pixels.
        sharp_draws: Distorted versions of each BSDS photo, each with two degrees of one distortion.
        small_photos: Photos of Flickr8k, each with one such draw.
        smallest_crop: Of a BSDS photo, in pixels.
    """

    image_size: int
    sharp_draws: int
    small_photos: int
    smallest_crop: int


@dataclass(frozen=True)
class LanguageModel:
    """The language model, in the words of `Qwen2Config`, and the tokens that it knows at most."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int


@dataclass(frozen=True)
class Stage:
    """A run of the generative trainer.

    Attributes:
        quality: Dialogues about which of two images is better.
        image_image: Dialogues about which of two images is closer to a third.
        learning_rate: Of the language model and the projector; the vision tower stays as it is.
        wording: How triplets are put into words.
    """

    quality: int
    image_image: int
    learning_rate: float
    wording: Wording


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, next to the photos and the vision tower.

    Attributes:
        kind: What tells it from the recipes of other trainers.
        name: What the result is called.
        seed: Of everything.
        tower: The two-tower model whose vision tower is taken: a directory or a Hub id; the bundled model if empty.
        batch_size: Dialogues of a step.
        held_out: Triplets of each task that are held out.
        triplets: What is made of the photos.
        language_model: The language model.
        letters: The first stage: to see, and to answer by letters.
        judgments: The second stage: all tasks in all wordings.
    """

    kind: Literal["generative-mini"]
    name: str
    seed: int
    tower: str
    batch_size: int
    held_out: int
    triplets: Triplets
    language_model: LanguageModel
    letters: Stage
    judgments: Stage

    def stage(self, name: Literal["letters", "judgments"], base: Path, triplets: Path) -> generative.Recipe:
        """Return a stage as a recipe of the generative trainer, from the model and on the triplets of two folders."""
        stage: Stage = getattr(self, name)
        last = name == "judgments"
        datasets = (QUALITY, SIMILARITY) if stage.image_image else (QUALITY,)
        return generative.Recipe(
            kind="generative",
            name=self.name if last else f"{self.name}-{name}",
            base=str(base),
            data=generative.DataSettings(
                datasets=tuple(str(triplets / dataset) for dataset in datasets),
                samples=generative.TaskCounts(stage.image_image, 0, 0, stage.quality),
            ),
            wording=stage.wording,
            learning_rates=generative.LearningRates(stage.learning_rate, stage.learning_rate, 0.0),
            optimization=generative.OptimizationSettings(
                batch_size=self.batch_size,
                device_batch_size=self.batch_size,
                precision="no",
                checkpointing=False,
            ),
            validation=ValidationSettings(self.held_out, every=250),
            seed=self.seed,
            save_every=250,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as TOML and JSON hold it."""
        return dataclasses.asdict(self)


def is_generative_mini(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's settings are for this trainer."""
    return table.get("kind") == "generative-mini"


def read_recipe(name_or_path: str | Path = "unisim-ll-mini", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; arguments and errors are those of the CLIP trainer's `read_recipe`."""
    recipe: Recipe = build(Recipe, read_table(name_or_path, overrides))
    return recipe
