"""The recipe of a generative model as typed values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from unisim_metrics.tasks import Task

from ..recipe import (
    Precision,
    ValidationSettings,
    build,
    check_least,
    read_table,
    without_none,
)
from ..stream import Balance
from .instructions import Wording
from .parts import Part


@dataclass(frozen=True)
class TaskCounts:
    """Dialogues of each task that the run sees (paper, Appendix B.2)."""

    image_image: int = 120_000
    image_text: int = 300_000
    caption: int = 300_000
    quality: int = 120_000

    def by_task(self) -> dict[Task, int]:
        """The counts of the tasks that there are any of."""
        counts = {name.replace("_", "-"): count for name, count in dataclasses.asdict(self).items() if count}
        return cast("dict[Task, int]", counts)


@dataclass(frozen=True)
class DataSettings:
    """Which triplets are trained on.

    Attributes:
        datasets: Ids of the benchmark's training sets, or JSONL and Parquet files of one's own.
        samples: Dialogues of each task.
        balance: Whether a task draws from its triplets or from its datasets alike.
        max_length: Tokens that a dialogue may have; 0 for the model's context.
        max_unreadable: Share of the dialogues that may be left out for images that cannot be read.
    """

    datasets: tuple[str, ...]
    samples: TaskCounts = field(default_factory=TaskCounts)
    balance: Balance = "samples"
    max_length: int = 0
    max_unreadable: float = 0.01


@dataclass(frozen=True)
class InstructionSettings:
    """Other instruction data that is mixed in.

    Attributes:
        files: JSON or JSON Lines in LLaVA's form, relative to the data root.
        samples: Dialogues of all of them together; each file gives in proportion to its own.
        images: The folder that their images are named relative to, relative to the data root; that of each file if
            empty.
        min_images: Dialogues with fewer images are not taken.
        max_images: Nor are those with more; 0 for any number.
    """

    files: tuple[str, ...] = ()
    samples: int = 0
    images: str = ""
    min_images: int = 0
    max_images: int = 0


@dataclass(frozen=True)
class LearningRates:
    """The peak learning rate of each part; a part with 0 stays as it is (paper, Appendix B.2)."""

    language_model: float = 1e-5
    projector: float = 1e-5
    vision_tower: float = 2e-6

    def by_part(self) -> dict[Part, float]:
        """The rates by the names of the parts."""
        return cast("dict[Part, float]", dataclasses.asdict(self))


@dataclass(frozen=True)
class LoraSettings:
    """An adapter in the place of full fine-tuning.

    Attributes:
        rank: 0 for none: every weight is trained.
        alpha: The adapter's factor is `alpha / rank`.
        dropout: Of the adapter's inputs.
        layers: Regular expression of the adapted layers' names.
        whole: Modules that are trained in full beside it, by the ends of their names.
    """

    rank: int = 0
    alpha: int = 32
    dropout: float = 0.05
    layers: str = r".*language_model\..*\.(q|k|v|o|gate|up|down)_proj"
    whole: tuple[str, ...] = ("multi_modal_projector",)


@dataclass(frozen=True)
class OptimizationSettings:
    """The descent (paper, Appendix B.2).

    Attributes:
        batch_size: Dialogues of a step, over all processes and accumulated batches.
        device_batch_size: Dialogues that pass a device at a time.
        warmup: Share of the steps in which the rates rise; a cosine follows.
        weight_decay: None in the paper.
        max_norm: What the gradient's norm is clipped to; 0 for no clipping.
        precision: `"no"`, or the type of mixed precision.
        checkpointing: Whether activations are computed again on the way back, which saves memory.
    """

    batch_size: int = 128
    device_batch_size: int = 4
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_norm: float = 1.0
    precision: Precision = "bf16"
    checkpointing: bool = True


@dataclass(frozen=True)
class Recipe:
    """A run of the trainer of generative models.

    Attributes:
        kind: What tells it from the recipes of other trainers.
        name: What the result is called.
        base: The model to start from: a directory or a Hub id.
        data: Which triplets are trained on.
        revision: Of the Hub id.
        instructions: What is mixed in.
        wording: How triplets are put into words.
        learning_rates: Of the parts.
        lora: The adapter, if there is one.
        optimization: The descent.
        validation: What is held out.
        seed: Of the order, of the wording and of the adapter's first weights.
        save_every: Steps between checkpoints.
        keep: How many checkpoints are kept.
    """

    kind: Literal["generative"]
    name: str
    base: str
    data: DataSettings
    revision: str | None = None
    instructions: InstructionSettings = field(default_factory=InstructionSettings)
    wording: Wording = field(default_factory=Wording)
    learning_rates: LearningRates = field(default_factory=LearningRates)
    lora: LoraSettings = field(default_factory=LoraSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    seed: int = 0
    save_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        if not self.data.datasets:
            raise ValueError("Setting data.datasets must name at least one dataset, but it is empty.")
        if bool(self.instructions.files) != bool(self.instructions.samples):
            raise ValueError(
                "Settings instructions.files and instructions.samples must both be given or neither, but got"
                f" {list(self.instructions.files)} and {self.instructions.samples}."
            )
        least = {
            "optimization.batch_size": (self.optimization.batch_size, self.optimization.device_batch_size),
            "optimization.device_batch_size": (self.optimization.device_batch_size, 1),
            "optimization.warmup": (self.optimization.warmup, 0),
            "data.samples": (self.dialogues, self.optimization.batch_size),
            "data.max_unreadable": (self.data.max_unreadable, 0),
            "learning_rates": (min(self.learning_rates.by_part().values()), 0),
            "lora.rank": (self.lora.rank, 0),
            "validation.triplets": (self.validation.triplets, 0),
            "validation.every": (self.validation.every, 1),
            "save_every": (self.save_every, 1),
            "keep": (self.keep, 1),
        }
        check_least(least)

    @property
    def dialogues(self) -> int:
        """All dialogues of the mixture."""
        return sum(self.data.samples.by_task().values()) + self.instructions.samples

    @property
    def steps(self) -> int:
        """Steps of the run, one epoch; a last batch that would not be full is left out."""
        return self.dialogues // self.optimization.batch_size

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as TOML and JSON hold it; what is None is left out."""
        settings: dict[str, Any] = without_none(dataclasses.asdict(self))
        return settings


def is_generative(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's settings are for this trainer."""
    return table.get("kind") == "generative"


def read_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe of a generative model; arguments and errors are those of the CLIP trainer's `read_recipe`."""
    recipe: Recipe = build(Recipe, read_table(name_or_path, overrides))
    return recipe
