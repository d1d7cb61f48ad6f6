"""From what the `evaluate` module has stored to its result: `UniSimScore` and `UniSimRanking` do the work."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from unisim_metrics.metrics import UniSimRanking, UniSimScore
from unisim_metrics.metrics.base import BUNDLED
from unisim_metrics.models import PerceptualModel, load_model
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task

from .inputs import Restorer

ModelLike: TypeAlias = str | os.PathLike[str] | nn.Module | PerceptualModel
Result: TypeAlias = dict[str, Any]

RANKING = "ranking"
REDUCTIONS = ("none", "mean")
# Loading takes longer than scoring a few images: a model that came by name serves the next `compute` too.
_MODELS_KEPT = 4


class Scorer:
    """The settings of one `compute`: checked, with the model loaded, before anything stored is touched.

    Args:
        config: A task, or `"ranking"`.
        task: The task of a ranking, inferred if None.
        model_name_or_path: What `load_model` takes.
        model: Another name for `model_name_or_path`.
        reduction: `"none"`, or `"mean"` to leave the scores of single samples out of the result.
        method: How quality and attributes are scored, `"naive"` or `"clip-iqa"`.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        batch_size: How many samples are decoded and scored at a time.
        device: Where a model that comes by name runs; a GPU by default, where there is one.

    Raises:
        ValueError: If an argument is out of its range, or a model cannot be found.
        OSError: If a model cannot be reached.
    """

    def __init__(
        self,
        config: str,
        *,
        task: Task | None = None,
        model_name_or_path: ModelLike | None = None,
        model: ModelLike | None = None,
        reduction: str = "none",
        method: Method = "naive",
        prompts: PromptsLike = None,
        batch_size: int = 64,
        device: torch.device | str | None = None,
    ) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"Argument `reduction` must be one of {REDUCTIONS}, but got {reduction!r}.")
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"Argument `batch_size` must be a positive integer, but got {batch_size!r}.")
        if model_name_or_path is not None and model is not None:
            raise ValueError(
                f"Arguments `model_name_or_path` and `model` are one and must not be given together, but got"
                f" {model_name_or_path!r} and {model!r}."
            )
        if task is not None and config != RANKING:
            raise ValueError(f"Argument `task` must be None for the config {config!r}, but got {task!r}.")
        self.config = config
        self.reduction = reduction
        self.batch_size = batch_size
        self._settings: dict[str, Any] = {
            "model_name_or_path": _get_model(_first_given(model_name_or_path, model, BUNDLED), device),
            "task": task if config == RANKING else config,
            "method": method,
            "prompts": prompts,
        }
        # A metric checks the rest.
        if config == RANKING:
            self._ranking(max_alternatives=2)
        else:
            self._score()

    def __call__(
        self,
        predictions: Sequence[Any],
        references: Sequence[Any] | None = None,
        choices: Sequence[int | None] | None = None,
    ) -> Result:
        """Score stored samples.

        Args:
            predictions: Stored images or texts; for a ranking groups of them.
            references: Stored images or texts; None, or None for each sample, where there are none.
            choices: For a ranking the index of the candidate that people chose in each group, or None.

        Returns:
            `mean`, or for a ranking `win_rate`, `mean_rank`, `win_matrix` and, with choices, `accuracy`; the
            `signature`; and `scores` unless they are reduced.

        Raises:
            ValueError: If there is nothing to score, or inputs do not fit together.
        """
        if not predictions:
            raise ValueError("Argument `predictions` must hold at least one sample, but nothing was added.")
        references = references or [None] * len(predictions)
        choices = choices or [None] * len(predictions)
        if self.config == RANKING:
            result = self._rank(predictions, references, choices)
        else:
            result = self._pairs(predictions, references)
        if self.reduction == "mean":
            del result["scores"]
        return result

    def _pairs(self, predictions: Sequence[Any], references: Sequence[Any]) -> Result:
        metric = self._score()
        for batch in self._batches(range(len(predictions))):
            restore = Restorer()
            targets = [restore(references[index]) for index in batch]
            metric.update([restore(predictions[index]) for index in batch], _all_or_none(targets))
        return {
            "scores": torch.cat(metric.kept).tolist(),
            "mean": metric.compute().item(),
            "signature": metric.signature,
        }

    def _rank(
        self, groups: Sequence[Any], references: Sequence[Any], choices: Sequence[int | None]
    ) -> Result:
        metric = self._ranking(max(len(group) for group in groups))
        # A batch has a choice for each of its groups, or for none.
        runs = itertools.groupby(range(len(groups)), key=lambda index: choices[index] is None)
        for batch in itertools.chain.from_iterable(self._batches(run) for _, run in runs):
            restore = Restorer()
            targets = [restore(references[index]) for index in batch]
            candidates = [restore(groups[index]) for index in batch]
            metric.update(
                candidates, _all_or_none(targets), _all_or_none([choices[index] for index in batch])
            )
        figures = {name: _without_nan(value.tolist()) for name, value in metric.compute().items()}
        scores = [row[~row.isnan()].tolist() for batch in metric.kept for row in batch]
        return {"scores": scores, **figures, "signature": metric.signature}

    def _score(self) -> _Score:
        return _Score(**self._settings)

    def _ranking(self, max_alternatives: int) -> _Ranking:
        return _Ranking(**self._settings, max_alternatives=max_alternatives)

    def _batches(self, indices: Iterable[int]) -> Iterator[list[int]]:
        left = iter(indices)
        while batch := list(itertools.islice(left, self.batch_size)):
            yield batch


class _Keeping:
    """Lets a metric keep the scores of single samples beside what it makes of them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.kept: list[Tensor] = []

    def _prepare(self, scores: Tensor, count: int) -> Tensor:
        prepared: Tensor = super()._prepare(scores, count)  # type: ignore[misc]
        self.kept.append(prepared.cpu())
        return prepared


class _Score(_Keeping, UniSimScore):
    pass


class _Ranking(_Keeping, UniSimRanking):
    pass


def _first_given(*models: ModelLike | None) -> ModelLike:
    return next(model for model in models if model is not None)


def _get_model(model: ModelLike, device: torch.device | str | None) -> PerceptualModel:
    if device is None and isinstance(model, str | os.PathLike):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"Argument `device` must be a device of this machine, but got {device!r}."
            ) from error
    if isinstance(model, str | os.PathLike):
        return _load_once(model if isinstance(model, str) else Path(model), str(device))
    return load_model(model, device=device)


@lru_cache(maxsize=_MODELS_KEPT)
def _load_once(model: str | Path, device: str) -> PerceptualModel:
    # By way of a metric, which says so where it is the bundled model.
    return UniSimScore(model).model.to(device)


def _all_or_none(values: list[Any]) -> list[Any] | None:
    """The values; None where there are none."""
    return None if values[0] is None else values


def _without_nan(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if math.isnan(value) else value
