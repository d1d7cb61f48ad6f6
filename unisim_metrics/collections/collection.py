"""`score_collection`: a collection of any size in, Parquet shards out, in bounded memory; a run that ended goes on."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from unisim_metrics.collections.cells import Unreadable, read_image
from unisim_metrics.collections.local_engine import run_local
from unisim_metrics.collections.output import OutputFolder
from unisim_metrics.collections.planning import Plan, Shard
from unisim_metrics.collections.progress import Progress, Tally
from unisim_metrics.collections.rows import KEY, SOURCE, Wanted
from unisim_metrics.collections.scorer import UniSimScorer
from unisim_metrics.collections.stores import is_url
from unisim_metrics.collections.supervision import run_supervised
from unisim_metrics.images.preparation import read_pixels

Engine = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

Inputs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class CollectionReport:
    """What a finished job has done.

    Attributes:
        output: The folder of shards.
        signature: What makes the scores.
        rows: How many rows the folder holds.
        errors: How many of them cannot be scored.
        shards: How many shards it holds.
        skipped: How many of them an earlier run had made.
        seconds: How long this run took.
    """

    output: Path
    signature: str
    rows: int
    errors: int
    shards: int
    skipped: int
    seconds: float


def score_collection(
    inputs: Inputs,
    output: str | os.PathLike[str],
    scorer: UniSimScorer | None = None,
    *,
    engine: Engine = "local",
    devices: Sequence[str] | None = None,
    concurrency: int | None = None,
    rows_per_shard: int = 10_000,
    max_bad: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    supervised: bool = False,
) -> CollectionReport:
    """Score a collection of any size into a folder of Parquet shards.

    Rows are read, decoded, scored and written in a stream, so memory does not grow with their number. A shard appears
    under its name when it is complete; a second run with the same arguments skips those that are, removes what was
    torn, and ends, on the same device, with the same bytes as a run that nobody disturbed. Within a shard rows stand in
    the order of the input, whatever thread was first. Of two jobs in one folder the second is refused.

    A row that kills the process which reads it, rather than raising an error, gets NaN and a reason, too: it is found
    when the shard is worked on again, in processes of their own. On Ray, and with `supervised`, the job itself goes on;
    without, it dies with this process, and the fourth run knows what killed three.

    The columns are `unisim_source` and `unisim_key` (the file or archive, and which of its rows), those that the scorer
    keeps by name, `unisim_score`, `unisim_error` (an empty text where there is none) and, if the scorer keeps it,
    `unisim_embedding`. The metadata of each file hold the signature.

    Args:
        inputs: One or several of: a folder of images, with its subfolders; a glob; an image file; a WebDataset
            (`.tar`, `.tar.gz`, `.tgz`); a table (`.parquet`, `.jsonl`) whose columns hold bytes, `{"bytes", "path"}`,
            paths relative to the table, or URLs. Globs and files may be URLs of fsspec; `{000..099}` is a range.
        output: The folder, on this machine.
        scorer: How rows are scored, and which columns hold what; `UniSimScorer()` if None. Columns that it is to
            keep must be named.
        engine: `"local"`: this machine. `"ray"`: the cluster of Ray that is connected, that the environment's
            `RAY_ADDRESS` names, or else this machine; all of its machines have to see inputs, model and folder.
        devices: Where to score locally, one thread each; the scorer's own device if None.
        concurrency: How many processes score on Ray; one a GPU of the cluster if None, or one a core.
        rows_per_shard: How many image files or rows of a table make a shard at most. An archive is one, however large.
        max_bad: How many rows may be bad before the job ends; any number if None.
        progress: Is called after every batch with how far the job is.
        supervised: Whether a local job runs in a process of its own, and in another where that dies. A script needs
            `if __name__ == "__main__":` then, as for all of `multiprocessing`, and the scorer has to be picklable.

    Raises:
        ValueError: If an argument is out of its range, an input holds nothing or lacks a column, the model does not
            score the task, or the folder was written with another signature, other settings or other inputs.
        BadRowsError: If more than `max_bad` rows cannot be scored. It is a ``ValueError`` and an ``OSError``.
        BlockingIOError: If another job is writing to the folder.
        ChildProcessError: If processes die of one shard again and again, and no row of it is to blame.
        OSError: If the folder cannot be written to.
        ModuleNotFoundError: If pyarrow is missing, or Ray where it is the engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"Argument `engine` must be one of {ENGINES}, but got {engine!r}.")
    if rows_per_shard < 1:
        raise ValueError(f"Argument `rows_per_shard` must be at least 1, but got {rows_per_shard}.")
    if max_bad is not None and max_bad < 0:
        raise ValueError(f"Argument `max_bad` must be at least 0 or None, but got {max_bad}.")
    if concurrency is not None and (engine == "local" or concurrency < 1):
        raise ValueError(
            f"Argument `concurrency` must be at least 1, and None but for the engine 'ray', but got {concurrency}."
        )
    if devices and engine == "ray":
        raise ValueError(f"Argument `devices` must be None for the engine 'ray', but got {devices!r}.")
    if devices and len(devices) > 1 and scorer is not None and not scorer.is_by_name:
        raise ValueError(
            "Argument `devices` must name one device for a model that is loaded already; one by name is loaded on each."
        )
    if supervised and engine == "ray":
        raise ValueError("Argument `supervised` must be False for the engine 'ray', which does so by itself.")
    if is_url(os.fspath(output)):
        raise ValueError(f"Argument `output` must be a folder on this machine, but got {output!r}.")
    job = _Job(
        _listed(inputs),
        Path(output),
        UniSimScorer() if scorer is None else scorer,
        engine,
        devices,
        concurrency,
        rows_per_shard,
        max_bad,
        uuid.uuid4().hex,
    )
    if not supervised:
        return job(progress)
    start = time.perf_counter()
    report = run_supervised(job, job.output, progress or (lambda _: None))
    return replace(report, seconds=time.perf_counter() - start)


@dataclass(frozen=True)
class _Job:
    """What `score_collection` is asked to do, and `run`, which tells this time from those before."""

    names: Sequence[str]
    output: Path
    scorer: UniSimScorer
    engine: Engine
    devices: Sequence[str] | None
    concurrency: int | None
    rows_per_shard: int
    max_bad: int | None
    run: str

    def __call__(self, progress: Callable[[Progress], object] | None) -> CollectionReport:
        scorer = self.scorer
        wanted = Wanted(scorer.sources, _kept_columns(scorer))
        plan = Plan(self.names, wanted, self.rows_per_shard)
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
        folder = OutputFolder(self.output, settings, self.run)
        tally = Tally(total, total_shards, self.max_bad, progress)
        with folder.held():
            if self.engine == "ray":
                from unisim_metrics.collections.ray_engine import run_ray

                run_ray(iter(plan), scorers[0], folder, tally, self.concurrency)
            else:
                run_local(iter(plan), scorers, folder, tally)
            folder.complete(tally.shards, tally.rows, tally.errors)
        return CollectionReport(
            folder.path,
            settings["signature"],
            tally.rows,
            tally.errors,
            tally.shards,
            tally.skipped,
            tally.seconds,
        )


def _listed(inputs: Inputs) -> list[str]:
    names = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not names:
        raise ValueError("Argument `inputs` must name at least one folder, glob or file, but it is empty.")
    return [os.fspath(name) for name in names]


def _kept_columns(scorer: UniSimScorer) -> tuple[str, ...]:
    if scorer.keep_columns is True:
        raise ValueError(
            "Argument `keep_columns` of the scorer must name the columns that a collection keeps, but got True."
        )
    return scorer.keep_columns or ()


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
