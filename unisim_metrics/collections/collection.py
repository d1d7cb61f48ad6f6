"""`score_collection`: a collection of any size in, Parquet shards out, in bounded memory; a run that ended goes on."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from unisim_metrics.collections.folders import open_folder
from unisim_metrics.collections.job import Engine, Inputs, Job
from unisim_metrics.collections.progress import Progress
from unisim_metrics.collections.report import CollectionReport
from unisim_metrics.collections.scorer import UniSimScorer
from unisim_metrics.collections.supervision import run_supervised


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
        output: The folder: a path, or a URL of fsspec, `s3://bucket/scored`, whose parts become visible as a whole. Of
            two jobs behind one URL the second is refused on the same machine alone; on two machines each does all.
        scorer: How rows are scored, and which columns hold what; `UniSimScorer()` if None. Columns that it is to
            keep must be named.
        engine: `"local"`: this machine. `"ray"`: the cluster of Ray that is connected, that the environment's
            `RAY_ADDRESS` names, or else this machine; all of its machines have to see inputs, model and folder.
        devices: Where to score locally, one thread each; the scorer's own device if None.
        concurrency: How many processes score on Ray; one a GPU of the cluster if None, or one a core.
        rows_per_shard: How many image files or rows of a table make a shard at most, or samples of an archive that is
            plain, on this machine and of more than 1 GiB. Any other archive is one.
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
    if supervised and engine == "ray":
        raise ValueError("Argument `supervised` must be False for the engine 'ray', which does so by itself.")
    job = Job(
        inputs,
        output,
        UniSimScorer() if scorer is None else scorer,
        engine,
        devices,
        concurrency,
        rows_per_shard,
        max_bad,
    )
    if not supervised:
        return job(uuid.uuid4().hex, progress)
    start = time.perf_counter()
    report = run_supervised(job, open_folder(output), progress or (lambda _: None))
    return replace(report, seconds=time.perf_counter() - start)
