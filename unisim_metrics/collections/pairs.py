"""Pairs of cells, what is scored and what it is scored against, through one model."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from unisim_metrics.collections.cells import Unreadable, read_image, read_text
from unisim_metrics.collections.halving import Halving
from unisim_metrics.images import Preprocessing
from unisim_metrics.metrics.wrappers import EmbedOnce
from unisim_metrics.models import EncoderModel, PerceptualModel
from unisim_metrics.models.answering import SCORED_ALONE, check_answers, view_of
from unisim_metrics.models.comparing import embed, score_pairs
from unisim_metrics.models.encoders.base import default_batch_size
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Modality, Task, modalities

Pair: TypeAlias = tuple[Any, Any]

# Models that prepare their images themselves get them whole.
_BATCH_OF_WHOLE_IMAGES = 8

# Threads may share a model, and its tokenizer must not serve two at once; devices do not wait for each other.
_one_at_a_time: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)


@dataclass(frozen=True)
class Source:
    """Where one side of the pairs comes from: a column, or a value that is the same for all rows."""

    modality: Modality
    column: str | None = None
    value: Any = None


@dataclass(frozen=True)
class Scored:
    """What a row gets."""

    score: float
    embedding: np.ndarray[Any, Any] | None = None


def read_cell(cell: Any, modality: Modality, name: str, preparation: Preprocessing | None) -> Any:
    """Decode a cell, or tell why it cannot be read; images are made ready as the model wants them."""
    return read_text(cell, name) if modality == "text" else read_image(cell, name, preparation)


class PairScorer:
    """Reads and scores pairs of cells with one model.

    Args:
        model: The model.
        sources: Where what is scored comes from and, if the task has it, what it is scored against.
        task: The task.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes.
        keep_embedding: Whether the vectors of what is scored are kept.

    Raises:
        ValueError: If the model does not score the task, or has no vectors where they are wanted; if the one image for
            all rows cannot be read.
    """

    def __init__(
        self,
        model: PerceptualModel,
        sources: Sequence[Source],
        task: Task,
        method: Method,
        prompts: PromptsLike,
        keep_embedding: bool,
    ) -> None:
        self.model = model
        self._task, self._method, self._prompts = task, method, prompts
        self._keep_embedding = keep_embedding
        embeds = check_answers(model, task, SCORED_ALONE) == "embeddings"
        if keep_embedding and not embeds:
            raise ValueError(
                f"Argument `keep_embedding` must be False for model {model.name!r}, which answers {task!r} by"
                " scores of its own."
            )
        self._view = view_of(model, task)
        self.preparation = (
            model.preparation(self._view) if embeds and isinstance(model, EncoderModel) else None
        )
        self.batch_size = _BATCH_OF_WHOLE_IMAGES if self.preparation is None else default_batch_size(model)
        self._sides = [self._reader(source) for source in sources]
        self._halving = Halving(self._pass)
        self._width: int | None = None

    def read(self, pair: Pair) -> Pair:
        """Decode what is scored and what it is scored against."""
        read = [reader(cell) for reader, cell in zip(self._sides, pair, strict=False)]
        return read[0], read[1] if len(read) > 1 else None

    def score(self, pairs: Sequence[Pair]) -> list[Scored | Unreadable]:
        """Score what was read; what could not be read is given back."""
        readable = [pair for pair in pairs if not any(isinstance(item, Unreadable) for item in pair)]
        with _one_at_a_time[str(self.model.device)]:
            scored = iter(self._halving(readable))
        return [
            next((item for item in pair if isinstance(item, Unreadable)), None) or next(scored)
            for pair in pairs
        ]

    def stack(self, vectors: Sequence[np.ndarray[Any, Any] | None]) -> np.ndarray[Any, Any]:
        """The vectors as `[N, D]`, NaN for those that are not there."""
        found = next((vector for vector in vectors if vector is not None), None)
        if found is not None:
            self._width = len(found)
        if self._width is None:
            grey = torch.full((3, 32, 32), 128, dtype=torch.uint8)
            self._width = embed(self.model, [grey], "image", self._view).shape[1]
        missing = np.full(self._width, np.nan, np.float32)
        rows = [missing if vector is None else vector for vector in vectors]
        return np.stack(rows) if rows else np.empty((0, self._width), np.float32)

    def _reader(self, source: Source) -> Callable[[Any], Any]:
        if source.column is None:
            value = read_cell(source.value, source.modality, "reference", self.preparation)
            if isinstance(value, Unreadable):
                raise ValueError(value.reason)
            return lambda _: value
        return partial(read_cell, modality=source.modality, name=source.column, preparation=self.preparation)

    @torch.no_grad()
    def _pass(self, pairs: Sequence[Pair]) -> list[Scored | Unreadable]:
        preds, targets = [pred for pred, _ in pairs], [target for _, target in pairs]
        against = None if len(self._sides) == 1 else targets
        # What is scored passes through the model once, for its score and for its vector.
        embedder: Any = EmbedOnce(self.model) if self._keep_embedding else self.model
        scores = score_pairs(embedder, preds, against, self._task, self._method, self._prompts)
        rows: list[Any] = [None] * len(pairs)
        if self._keep_embedding:
            rows = list(embed(embedder, preds, modalities(self._task)[0], self._view).float().cpu().numpy())
        return [
            Scored(score, row)
            if math.isfinite(score)
            else Unreadable(f"The model's score is not finite: {score}.")
            for score, row in zip(scores.float().tolist(), rows, strict=True)
        ]
