"""A job over a collection: what is asked for, checked at once, and done when it is called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from unisim_metrics.collections.cells import Unreadable, read_image
from unisim_metrics.collections.folders import open_folder
from unisim_metrics.collections.local_engine import run_local
from unisim_metrics.collections.output import OutputFolder
from unisim_metrics.collections.progress import Progress, Tally
from unisim_metrics.collections.reading.planning import Plan, Shard
from unisim_metrics.collections.reading.rows import KEY, SOURCE, Wanted
from unisim_metrics.collections.report import CollectionReport
from unisim_metrics.collections.scorer import UniSimScorer
from unisim_metrics.images.preparation import read_pixels

Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Job:
    """What `score_collection` is asked to do; its arguments are said there.

    Raises:
        ValueError: If an argument is out of its range, or arguments contradict each other.
    """

    inputs: Inputs
    output: str | os.PathLike[str]
    scorer: UniSimScorer
    engine: Engine = "local"
    devices: Sequence[str] | None = None
    concurrency: int | None = None
    rows_per_shard: int = 10_000
    max_bad: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"Argument `engine` must be one of {ENGINES}, but got {self.engine!r}.")
        if self.rows_per_shard < 1:
            raise ValueError(f"Argument `rows_per_shard` must be at least 1, but got {self.rows_per_shard}.")
        if self.max_bad is not None and self.max_bad < 0:
            raise ValueError(f"Argument `max_bad` must be at least 0 or None, but got {self.max_bad}.")
        if self.concurrency is not None and (self.engine == "local" or self.concurrency < 1):
            raise ValueError(
                "Argument `concurrency` must be at least 1, and None but for the engine 'ray', but got"
                f" {self.concurrency}."
            )
        if self.devices and self.engine == "ray":
            raise ValueError(
                f"Argument `devices` must be None for the engine 'ray', but got {self.devices!r}."
            )
        if self.devices and len(self.devices) > 1 and not self.scorer.is_by_name:
            raise ValueError(
                "Argument `devices` must name one device for a model that is loaded already; one by name is loaded on"
                " each."
            )
        if not self._names():
            raise ValueError(
                "Argument `inputs` must name at least one folder, glob or file, but it is empty."
            )
        self._wanted()

    def __call__(self, run: str, progress: Callable[[Progress], object] | None) -> CollectionReport:
        """Do it, or what is left of it.

        Args:
            run: What tells this run from those before.
            progress: Is called after every batch with how far the job is.

        Raises:
            ValueError: What `score_collection` says, as all that follows.
        """
        scorer, wanted = self.scorer, self._wanted()
        plan = Plan(self._names(), wanted, self.rows_per_shard)
        total, total_shards = _count(plan)
        where: Sequence[str | None] = self.devices or [scorer.device]
        scorers = [
            scorer.replaced(keep_columns=(SOURCE, KEY, *wanted.kept), device=device) for device in where
        ]
        settings: dict[str, Any] = {
            "signature": scorers[0].signature,
            "columns": list(wanted.names),
            "kept": list(wanted.kept),
            "embedding": scorer.keep_embedding,
            "against": _constant(scorer),
            "rows_per_shard": self.rows_per_shard,
        }
        folder = OutputFolder(open_folder(self.output), settings, run)
        tally = Tally(total, total_shards, self.max_bad, progress)
        with folder.held():
            if self.engine == "ray":
                from unisim_metrics.collections.ray_engine import run_ray

                run_ray(iter(plan), scorers[0], folder, tally, self.concurrency)
            else:
                run_local(iter(plan), scorers, folder, tally)
            folder.complete(tally.shards, tally.rows, tally.errors)
        return CollectionReport(
            folder.name if folder.is_stored else Path(folder.name),
            settings["signature"],
            tally.rows,
            tally.errors,
            tally.shards,
            tally.skipped,
            tally.seconds,
        )

    def _names(self) -> list[str]:
        inputs = self.inputs
        names = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
        return [os.fspath(name) for name in names]

    def _wanted(self) -> Wanted:
        kept = self.scorer.keep_columns
        if kept is True:
            raise ValueError(
                "Argument `keep_columns` of the scorer must name the columns that a collection keeps, but got True."
            )
        return Wanted(self.scorer.sources, kept or ())


def _constant(scorer: UniSimScorer) -> str | None:
    """What all rows are scored against: the text, or SHA-256 of the image's pixels.

    Raises:
        ValueError: If the image cannot be read.
    """
    if scorer.reference is None:
        return scorer.text
    image = read_image(scorer.reference, "reference")
    if isinstance(image, Unreadable):
        raise ValueError(image.reason)
    pixels = read_pixels(image)
    return hashlib.sha256(str(tuple(pixels.shape)).encode() + pixels.cpu().numpy().tobytes()).hexdigest()


def _count(shards: Iterable[Shard]) -> tuple[int | None, int]:
    """How many rows there are, if that is known, and how many shards."""
    total: int | None = 0
    number = 0
    for shard in shards:
        count = None if total is None else shard.count()
        total = None if total is None or count is None else total + count
        number += 1
    return total, number
