"""A run that `unisim train` has brought to its end, as its folder tells of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from unisim_metrics.models.checkpoints.directories import is_adapter, read_json

from ..checkpoints import list_checkpoints, load_checkpoint, steps_of_weights
from ..errors import TrainingError
from ..generative.recipe import Recipe as GenerativeRecipe
from ..generative.recipe import is_generative
from ..recipe import Recipe, build
from ..validation import ValidationReport


@dataclass(frozen=True)
class FinishedRun:
    """What a finished run left.

    Attributes:
        folder: The run's folder.
        recipe: Every setting, as `recipe.json` holds them.
        environment: Command, versions, data, as `environment.json` holds them.
        steps: Steps that made the adapter or the model; None if the run keeps no checkpoint that tells.
        planned_steps: Steps of the recipe.
        evaluation: The last validation; None if there was none.
        first_evaluation: That before the first step; None if there was none.
    """

    folder: Path
    recipe: dict[str, Any]
    environment: dict[str, Any]
    steps: int | None
    planned_steps: int
    evaluation: ValidationReport | None
    first_evaluation: ValidationReport | None = None

    @property
    def generative(self) -> bool:
        """Whether it is a run of the trainer of generative models."""
        answer: bool = is_generative(self.recipe)
        return answer

    @property
    def adapter(self) -> Path:
        """The folder of the adapter."""
        return self.folder / "adapter"

    @property
    def model(self) -> Path:
        """The folder of the model, where all of it was trained and there is no adapter."""
        return self.folder / "model"

    @property
    def has_adapter(self) -> bool:
        """Whether it left an adapter."""
        return bool(not self.generative or self.recipe["lora"]["rank"])

    @property
    def own_evaluation(self) -> ValidationReport | None:
        """The last validation, if it was of the adapter's own weights and not of earlier ones."""
        if self.evaluation is not None and self.steps in (None, self.evaluation.step):
            return self.evaluation
        return None


def read_run(folder: Path) -> FinishedRun:
    """Read what a run left.

    Raises:
        ValueError: If `folder` holds no run.
        TrainingError: If the run has not come to its end, or a file of it is damaged.
    """
    for name in ("recipe.json", "environment.json"):
        if not (folder / name).is_file():
            raise ValueError(
                f"Argument `run` must be the folder of a run of `unisim train`, but {str(folder)!r} has no {name}."
            )
    recipe = read_json(folder / "recipe.json")
    generative = is_generative(recipe)
    planned = build(GenerativeRecipe, recipe).steps if generative else build(Recipe, recipe).steps
    whole = generative and not recipe["lora"]["rank"]
    if not (folder / "model" / "config.json").is_file() if whole else not is_adapter(folder / "adapter"):
        raise TrainingError(
            f"The run in {folder} is not finished: it has no {'model' if whole else 'adapter'}. Go on with"
            " `unisim train ... --resume`."
        )
    weights = folder / ("model" if whole else "adapter")
    validations = _read_validations(folder / "validation.jsonl")
    first = next((validation for validation in validations if validation.step == 0), None)
    return FinishedRun(
        folder,
        recipe,
        read_json(folder / "environment.json"),
        steps_of_weights(folder, weights) if generative else _steps_of_adapter(folder),
        planned,
        validations[-1] if validations else None,
        first,
    )


def _steps_of_adapter(folder: Path) -> int | None:
    """The step of the last checkpoint, whose weights the adapter must have."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return None
    saved = load_checkpoint(checkpoints[-1])
    try:
        adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"The adapter in {folder} cannot be read: {error}") from error
    trained = {_name_in_adapter(name): weight for name, weight in saved.weights.items()}
    if adapter.keys() != trained.keys() or any(
        not torch.equal(weight, adapter[name]) for name, weight in trained.items()
    ):
        raise TrainingError(
            f"The run in {folder} is not finished: its adapter is not that of its last checkpoint, at step"
            f" {saved.step}. Go on with `unisim train ... --resume`."
        )
    step: int = saved.step
    return step


def _name_in_adapter(name: str) -> str:
    """The name under which peft saves a trained weight of the image tower."""
    return name.removeprefix("clip.").replace(".modules_to_save.default.", ".").replace(".default.", ".")


def _read_validations(file: Path) -> list[ValidationReport]:
    lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
    validations = []
    for line in lines:
        if not line.strip():
            continue
        try:
            validations.append(ValidationReport.from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"A line of {file} must hold a validation, but does not: {type(error).__name__}: {error}"
            ) from error
    return validations
