"""`UniSimScorer`: columns in, columns of scores out, unchanged on every engine that maps batches."""

from __future__ import annotations

import copy
import inspect
import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from unisim_metrics.collections.cells import Unreadable, is_single, list_cells
from unisim_metrics.collections.pairs import Pair, PairScorer, Scored, Source
from unisim_metrics.images import Preprocessing
from unisim_metrics.images.threads import ahead, usable_cores
from unisim_metrics.models import PerceptualModel, list_models, load_model
from unisim_metrics.models.answering import SCORED_ALONE
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike, check_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Modality, Task, check_method, check_task, modalities

Batch: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dict[str, Any]

SCORE, ERROR, EMBEDDING = "unisim_score", "unisim_error", "unisim_embedding"


class UniSimScorer:
    """Scores batches of columns: for `datasets.map`, Ray Data, Daft, Spark, WebDataset, or a plain loop.

    A batch is a mapping from names to columns: lists, arrays by their first axis, columns of pandas and `datasets`. An
    image is the bytes of a file, `{"bytes": ..., "path": ...}`, a path, a URL that fsspec opens, a Pillow image, an
    array `[H, W]` or `[H, W, C]` or a tensor `[C, H, W]`; uint8 in 0–255 or float in 0–1. A text is a `str`, or its
    bytes in UTF-8. A mapping from names to single values is one row.

    What comes back are the columns

    - `unisim_score`: float32 `[N]`, in [−1, 1] (`clip-iqa`: [0, 1]); higher is closer; NaN for a row that cannot be
      scored;
    - `unisim_error`: why it cannot, an empty text for all others;
    - `unisim_embedding`, with `keep_embedding`: float32 `[N, D]`, the vectors of what is scored, of unit length; NaN
      for a row that cannot be scored;

    behind those of the batch, where it is a plain `dict`: engines take what comes back in its place. `datasets` adds it
    to its own, and hands over another kind of mapping: then they come back alone.

    The model is loaded at the first call, once a process and device, whatever the number of scorers. Until then, and in
    pickles always, a scorer is its arguments; so engines can send it to their workers, and `datasets` finds what it
    has cached. Files are decoded in threads while the batch before them passes through the model. A batch that does not
    fit the device's memory is halved and tried again, and smaller ones are made from then on.

    Args:
        model_name_or_path: What `load_model` takes. A module or a model is pickled with the scorer.
        task: The task; inferred from the columns that are named if None.
        image_column: The column of the images: of those that are scored; for `caption` of those that the texts are
            scored against.
        text_column: The column of the texts, for `image-text` and `caption`.
        reference_column: The column of the images that images are scored against.
        text: One text for all rows, in the place of a column.
        reference: One image for all rows, in the place of a column.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        device: Where the model runs; a GPU if None and there is one.
        batch_size: How many rows pass through the model at a time; by the device if None.
        workers: How many threads decode; as many as there are cores if None, 0 for the calling thread.
        keep_embedding: Whether the vectors come back.
        keep_columns: Which columns of the batch come back: all (True), none (False), these, or as said above (None).
        load_options: What else `load_model` takes: `revision`, `base`, `dtype`, `resample`, ...

    Raises:
        ValueError: If arguments contradict each other or are out of their range, or a model of the registry does not
            score the task. At the first call: if the model cannot be found or does not score the task, a batch lacks a
            column, or its columns differ in length.

    Examples:
        >>> from skimage.data import astronaut, coffee
        >>> from unisim_metrics import UniSimScorer
        >>> scorer = UniSimScorer(text_column="prompt")
        >>> batch = {"image": [astronaut(), b"no image"], "prompt": ["a smiling woman", "a cup of coffee"]}
        >>> scored = scorer(batch)
        >>> sorted(scored)
        ['image', 'prompt', 'unisim_error', 'unisim_score']
        >>> print(scored["unisim_error"][1])
        Argument `image` must hold an encoded image, but it could not be read: not an image of a known format.
    """

    def __init__(
        self,
        model_name_or_path: ModelLike = "unisim-mini",
        task: Task | None = None,
        *,
        image_column: str = "image",
        text_column: str | None = None,
        reference_column: str | None = None,
        text: str | None = None,
        reference: Any = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        keep_embedding: bool = False,
        keep_columns: bool | Sequence[str] | None = None,
        **load_options: Any,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("workers", workers, 0)):
            if value is not None and value < least:
                raise ValueError(f"Argument `{name}` must be at least {least} or None, but got {value!r}.")
        if isinstance(keep_columns, str):
            raise ValueError(f"Argument `keep_columns` must be a list of names, but got {keep_columns!r}.")
        unknown = load_options.keys() - inspect.signature(load_model).parameters.keys()
        if unknown:
            raise ValueError(
                f"Arguments of `UniSimScorer` must be its own or those of `load_model`, but got {sorted(unknown)}."
            )
        self.model_name_or_path = model_name_or_path
        self.image_column = image_column
        self.text_column = text_column
        self.reference_column = reference_column
        self.text = text
        self.reference = reference
        self.method = check_method(method)
        self.prompts = check_prompts(prompts)
        self.device = None if device is None else str(device)
        self.batch_size = batch_size
        self.workers = workers
        self.keep_embedding = keep_embedding
        self.keep_columns = (
            keep_columns if keep_columns is None or isinstance(keep_columns, bool) else tuple(keep_columns)
        )
        self.load_options = dict(sorted(load_options.items()))
        self.task: Task = self._find_task(check_task(task))
        self._loaded: PairScorer | None = None

    @property
    def model(self) -> PerceptualModel:
        """The model, which is loaded if it was not yet."""
        return self._load().model

    @property
    def signature(self) -> str:
        """What makes the scores: model and weights, task, prompts, preprocessing, version. It loads the model."""
        return signature(self.model, self.task, self.method, self.prompts, SCORED_ALONE)

    @property
    def is_by_name(self) -> bool:
        """Whether the model is loaded here, by its name or path, rather than handed over."""
        return isinstance(self.model_name_or_path, str | os.PathLike)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where what is scored comes from and, if the task has it, what it is scored against."""
        image = Source("image", self.image_column)
        if self.text is not None or self.text_column is not None:
            text = Source("text", self.text_column, self.text)
            return (text, image) if self.task == "caption" else (image, text)
        if self.reference is not None or self.reference_column is not None:
            return image, Source("image", self.reference_column, self.reference)
        return (image,)

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """The columns that are scored."""
        return tuple(source.column for source in self.sources if source.column is not None)

    @property
    def rows_at_a_time(self) -> int:
        """How many rows pass through the model at a time. It loads the model."""
        return self.batch_size or self._load().batch_size

    @property
    def preparation(self) -> Preprocessing | None:
        """How images are made ready while they are decoded; None if the model does that. It loads the model."""
        return self._load().preparation

    def replaced(self, **changes: Any) -> UniSimScorer:
        """Return the same scorer with other arguments.

        Args:
            changes: What is another, by name, of what does not decide the task.
        """
        other = copy.copy(self)
        other.__dict__.update(changes)
        return other

    def __call__(self, batch: Batch) -> Result:
        """Score a batch; see the class.

        Args:
            batch: Columns of N rows, or the values of one row.

        Raises:
            ValueError: If a column is missing, columns differ in length, or the model does not score the task.
            OSError: If the model's weights cannot be reached.
        """
        if any(is_single(batch[name]) for name in self.needed_columns if name in batch):
            row = {name: [batch[name]] for name in self.needed_columns if name in batch}
            ((_, columns),) = self._score([row])
            return self._kept(batch) | {name: column[0] for name, column in columns.items()}
        (result,) = self.stream([batch])
        return result

    def stream(self, batches: Iterable[Batch]) -> Generator[Result, None, None]:
        """Score batches one after the other, in order; what comes next is decoded while one is scored.

        Args:
            batches: Columns of N rows each; a few are asked for ahead of the one in use.

        Raises:
            ValueError: As for a call.
        """
        for batch, columns in self._score(batches):
            yield self._kept(batch) | columns

    def _score(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Result]]:
        """Each batch with its new columns."""
        loaded = self._load()
        size = self.rows_at_a_time
        waiting: deque[tuple[Batch, int]] = deque()

        def cut() -> Iterator[list[Pair]]:
            for batch in batches:
                pairs = self._pairs(batch)
                waiting.append((batch, len(pairs)))
                yield from (pairs[start : start + size] for start in range(0, len(pairs), size))

        done: list[Scored | Unreadable] = []
        workers = usable_cores() if self.workers is None else self.workers
        for _, pairs in ahead(cut(), loaded.read, workers):
            # An empty batch has nothing to decode: it goes with what comes behind it.
            while not waiting[0][1]:
                yield waiting.popleft()[0], self._columns([], loaded)
            done += loaded.score(pairs)
            if len(done) == waiting[0][1]:
                yield waiting.popleft()[0], self._columns(done, loaded)
                done = []
        for batch, _ in waiting:
            yield batch, self._columns([], loaded)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}

    def __repr__(self) -> str:
        name = self.model_name_or_path
        named = repr(name) if isinstance(name, str) else getattr(name, "name", type(name).__name__)
        return f"UniSimScorer({named}, task={self.task!r})"

    def _find_task(self, task: Task | None) -> Task:
        """The task that the named columns mean, or the one given, if they fit it.

        Raises:
            ValueError: If they do not, or contradict each other.
        """
        named = [
            name
            for name in ("text_column", "text", "reference_column", "reference")
            if getattr(self, name) is not None
        ]
        if len(named) > 1:
            raise ValueError(f"Arguments `{named[0]}` and `{named[1]}` must not be given together.")
        if task == "odd-one-out":
            raise ValueError(
                "Argument `task` must not be 'odd-one-out' for `UniSimScorer`: it takes three images."
            )
        second: Modality | None = None if not named else "text" if named[0].startswith("text") else "image"
        if task is None:
            task = {"text": "image-text", "image": "image-image", None: "quality"}[second]  # type: ignore[assignment]
        assert task is not None
        wanted = "text" if task == "caption" else modalities(task)[1]
        if wanted != second:
            needed = {
                "text": "`text_column` or `text`",
                "image": "`reference_column` or `reference`",
                None: "the images alone",
            }
            raise ValueError(
                f"Argument `task` {task!r} needs {needed[wanted]}, but got"
                f" {f'`{named[0]}`' if named else 'images alone'}."
            )
        if self.text is not None and not self.text.strip():
            raise ValueError("Argument `text` must hold a text, but it is blank.")
        if self.model_name_or_path in list_models() and self.model_name_or_path not in list_models(task):
            raise ValueError(
                f"Argument `task` must be one that {self.model_name_or_path!r} answers, but got {task!r}:"
                f" `unisim models --task {task}` lists those that answer it."
            )
        return task

    def _pairs(self, batch: Batch) -> list[Pair]:
        """The cells of each row: what is scored, and against what.

        Raises:
            ValueError: If a column is missing, or they differ in length.
        """
        columns = {}
        for name in self.needed_columns:
            if name not in batch:
                raise ValueError(
                    f"Argument `batch` must hold a column {name!r}, but got {', '.join(map(repr, batch)) or 'none'}."
                )
            columns[name] = list_cells(batch[name])
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Columns of the `batch` must have the same length, but got {lengths}.")
        count = next(iter(lengths.values()))
        sides = [
            [None] * count if source.column is None else columns[source.column] for source in self.sources
        ]
        return list(zip(sides[0], sides[1] if len(sides) > 1 else [None] * count, strict=True))

    def _columns(self, rows: Sequence[Scored | Unreadable], loaded: PairScorer) -> Result:
        scores = [math.nan if isinstance(row, Unreadable) else row.score for row in rows]
        columns: Result = {
            SCORE: np.array(scores, np.float32),
            ERROR: [row.reason if isinstance(row, Unreadable) else "" for row in rows],
        }
        if self.keep_embedding:
            columns[EMBEDDING] = loaded.stack(
                [None if isinstance(row, Unreadable) else row.embedding for row in rows]
            )
        return columns

    def _kept(self, batch: Batch) -> Result:
        """The columns that come back with the scores."""
        if isinstance(self.keep_columns, tuple):
            missing = [name for name in self.keep_columns if name not in batch]
            if missing:
                raise ValueError(
                    f"Argument `keep_columns` must name columns of the batch, but got {missing}."
                )
            return {name: batch[name] for name in self.keep_columns}
        keeps = isinstance(batch, dict) if self.keep_columns is None else self.keep_columns
        return dict(batch) if keeps else {}

    def _load(self) -> PairScorer:
        if self._loaded is None:
            device = self.device
            if device is None and self.is_by_name:
                device = "cuda" if torch.cuda.is_available() else "cpu"
            model = as_model(self.model_name_or_path, device, **self.load_options)
            self._loaded = PairScorer(
                model, self.sources, self.task, self.method, self.prompts, self.keep_embedding
            )
        return self._loaded
