"""A model through the sets of the benchmark: `run`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from unisim_metrics.images.threads import usable_cores
from unisim_metrics.models import load_model
from unisim_metrics.models.protocol import PerceptualModel

from ..datasets import Protocol, Split
from ..errors import BenchmarkError
from ..results.files import (
    SetResult,
    result_folder,
)
from .abilities import why_not
from .embedding_cache import default_folder
from .judging import demonstrate
from .planning import PlannedSet, choose_datasets, plan_set
from .processes import default_device, join_processes
from .set_runner import Overwrite, SetRunner

if TYPE_CHECKING:
    from torch import nn

MAX_LOST = 0.01
"""The share of a set's samples that may have no choice."""

MAX_DEMONSTRATIONS = 3


def run(
    model: str | os.PathLike[str] | nn.Module | PerceptualModel,
    datasets: str | Path | Sequence[str | Path] | None = None,
    root: str | os.PathLike[str] = ".",
    *,
    results: str | os.PathLike[str] | None = None,
    split: Split = "test",
    n: int | None = None,
    seed: int = 0,
    protocol: Protocol = "paper",
    cache: bool | str | os.PathLike[str] = True,
    workers: int | None = None,
    batch_size: int | None = None,
    max_lost: float = MAX_LOST,
    overwrite: Overwrite = "only-missing",
    demonstrations: int = 0,
    progress: bool | None = None,
    device: str | None = None,
) -> dict[str, SetResult]:
    """Ask a model about sets of the benchmark.

    All sets are planned first. Each image and text then passes through an encoder once, whatever the number of sets
    and samples that show it, and a set is judged and written as soon as its items are embedded. A generative model is
    shown each sample. Under torchrun or `accelerate launch` the processes share the work; each returns all results.

    Args:
        model: What `load_model` takes.
        datasets: Ids (see `list_datasets`), or files of one's own samples, `.jsonl` or `.parquet`; None for all sets
            of the paper whose files are there.
        root: The data root.
        results: The folder that gets the result files; None to write none.
        split: `"test"`, or `"train"` for the sets that UniSim trains on.
        n: Samples of each set; None for as many as in the paper. Retrieval takes all its queries.
        seed: Another seed gives other samples.
        protocol: `"paper"`, or `"authors"` for the samples and images of the authors' code where it differs. The
            signatures say so.
        cache: Whether embeddings are kept on disk for other runs and for resuming this one, or the folder for them.
        workers: Threads that read and prepare images ahead; 0 for none, None for as many as there are cores. The
            results do not depend on it.
        batch_size: Items that pass through the model at a time, or samples that a generative model is asked about;
            chosen by the device if None.
        max_lost: The share of a set's samples that may have no choice, in [0, 1], because an image could not be read
            or a model gave no answer. Beyond it the set has no figure.
        overwrite: `"only-missing"` keeps a result of the same samples and signature, and refuses to replace one of
            the paper's set by one of other samples; `"never"` keeps any, and refuses
            one that does not fit; `"always"` makes all anew; `"read-only"` reads what fits and makes none.
        demonstrations: Solved training samples that a generative model is shown before each question, 0 to 3 (paper,
            Figure 5). Results after them have a folder of their own.
        progress: Whether to show a progress bar; None to show it on a terminal.
        device: Where a model that is named is loaded to; by default an accelerator if there is one.

    Returns:
        The results by set, in the order of `datasets`.

    Raises:
        ValueError: If an argument is out of its range, an id is unknown, or the model cannot answer a set. Nothing
            has been run then.
        OSError: If the data root, or files of a set that was named, are not there.
        BenchmarkError: If sets have no figure. All others were run, and are in its attribute `results`.
    """
    _check(n, workers, batch_size, max_lost, overwrite, demonstrations, results)
    with join_processes() as processes:
        plans, failures = processes.lead(lambda: _plan(datasets, Path(root), split, n, seed, protocol))
        if isinstance(model, str | os.PathLike):
            loaded = load_model(model, device=device or default_device())
        else:
            loaded = load_model(model)
        plans = _answerable(plans, loaded, is_named=datasets is not None)
        runner = SetRunner(
            loaded,
            processes,
            folder=None
            if results is None
            else result_folder(Path(results), loaded.name, loaded.weights_hash(), demonstrations),
            cache=_cache_folder(cache),
            workers=usable_cores() if workers is None else workers,
            batch_size=batch_size,
            max_lost=max_lost,
            overwrite=overwrite,
            demonstrations=demonstrations,
            asked={planned.dataset.id: demonstrate(loaded, planned, demonstrations) for planned in plans},
        )
        found = runner.run(plans, failures, progress)
    if failures:
        raise BenchmarkError(failures, found)
    return found


def _check(
    n: int | None,
    workers: int | None,
    batch_size: int | None,
    max_lost: float,
    overwrite: str,
    demonstrations: int,
    results: object,
) -> None:
    for name, value, least in (("n", n, 1), ("workers", workers, 0), ("batch_size", batch_size, 1)):
        if value is not None and value < least:
            raise ValueError(f"Argument `{name}` must be at least {least}, or None, but got {value}.")
    if not 0 <= max_lost <= 1:
        raise ValueError(f"Argument `max_lost` must lie between 0 and 1, but got {max_lost}.")
    if overwrite not in get_args(Overwrite):
        raise ValueError(f"Argument `overwrite` must be one of {get_args(Overwrite)}, but got {overwrite!r}.")
    if overwrite == "read-only" and results is None:
        raise ValueError("Argument `results` must name the folder to read for `overwrite='read-only'`.")
    if not 0 <= demonstrations <= MAX_DEMONSTRATIONS:
        raise ValueError(
            f"Argument `demonstrations` must be from 0 to {MAX_DEMONSTRATIONS}, but got {demonstrations}."
        )


def _plan(
    datasets: str | Path | Sequence[str | Path] | None,
    root: Path,
    split: Split,
    n: int | None,
    seed: int,
    protocol: Protocol,
) -> tuple[list[PlannedSet], dict[str, str]]:
    """Plan the sets, and say why some cannot be: of those that were named none may be so."""
    chosen, absent = choose_datasets(datasets, root, split, protocol)
    if absent:
        warnings.warn(f"Not in {root}, and left out: {', '.join(absent)}.", UserWarning, stacklevel=4)
    plans, failures = [], {}
    for dataset in chosen:
        try:
            plans.append(plan_set(dataset, split, n, seed))
        except (ValueError, OSError) as error:
            if datasets is not None:
                raise
            failures[dataset.id] = str(error)
    if not plans:
        raise BenchmarkError(failures)
    return plans, failures


def _answerable(plans: Sequence[PlannedSet], model: PerceptualModel, is_named: bool) -> list[PlannedSet]:
    """Leave out what a model cannot answer.

    Raises:
        ValueError: If such a set was asked for by name, or nothing is left.
    """
    reasons = {planned.dataset.id: why_not(model, planned.dataset.task) for planned in plans}
    left = [planned for planned in plans if reasons[planned.dataset.id] is None]
    for reason in dict.fromkeys(filter(None, reasons.values())):
        names = [name for name, why in reasons.items() if why == reason]
        if is_named or not left:
            raise ValueError(f"Argument `datasets` must not name {names} for this model: {reason}.")
        warnings.warn(f"Left out: {', '.join(names)}. {reason}.", UserWarning, stacklevel=3)
    return left


def _cache_folder(cache: bool | str | os.PathLike[str]) -> Path | None:
    if cache is False:
        return None
    return default_folder() if cache is True else Path(cache)
