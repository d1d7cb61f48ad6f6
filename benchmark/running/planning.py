"""What a run will ask: the sets, their samples, and each image and text that they need."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.prompts import resolve_prompts

from ..data.image_reading import ImageKey, image_key
from ..datasets import (
    Dataset,
    Protocol,
    Retrieval,
    RetrievalDataset,
    Split,
    Status,
    hash_retrieval,
    list_datasets,
    load_dataset,
)
from ..errors import TooFewSamplesError
from ..provenance import Provenance, tell_provenance
from ..results.files import META_NAME
from ..samples import Item, Sample, hash_samples, relative_name
from ..sharing import Columns, share_queries, share_samples
from ..tasks import TASKS, task_of

_FILE_NAME = re.compile(
    r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\.][^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff/\\]{0,199}"
)


@dataclass(frozen=True)
class PlannedSet:
    """A set and what a model will be asked about it.

    Attributes:
        dataset: The set.
        split: Which samples.
        seed: Which draw of them.
        samples: The samples; none for retrieval.
        retrieval: Queries and gallery, for retrieval.
        samples_hash: The SHA-256 of either.
        provenance: Where they are from.
    """

    dataset: Dataset
    split: Split
    seed: int
    samples: Sequence[Sample]
    retrieval: Retrieval | None
    samples_hash: str
    provenance: Provenance

    @property
    def n(self) -> int:
        """How many samples, or queries."""
        return len(self.samples) if self.retrieval is None else len(self.retrieval.queries)

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """The right alternative of each sample, `[n]`; None for retrieval."""
        if self.retrieval is not None:
            return None
        return np.array([sample.label for sample in self.samples], dtype=np.uint8)

    @cached_property
    def clusters(self) -> Columns:
        """Which samples, or queries, hang together."""
        if self.retrieval is not None:
            return share_queries(self.retrieval)
        return share_samples(self.samples, self.dataset.original)

    @cached_property
    def images(self) -> tuple[ImageKey, ...]:
        """Each image once, in the order of the samples."""
        if self.retrieval is not None:
            paths: Iterable[Item] = (*self.retrieval.queries, *self.retrieval.gallery)
        else:
            paths = (item for item in self._items() if isinstance(item, Path))
        return tuple(image_key(self.dataset, path) for path in dict.fromkeys(cast("Iterable[Path]", paths)))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Each text once, prompts of quality and attributes included, the shorter ones first."""
        texts = {item for item in self._items() if isinstance(item, str)}
        return tuple(sorted({*texts, *self.prompts}, key=lambda text: (len(text), text)))

    @property
    def prompts(self) -> tuple[str, ...]:
        """What images are compared with where samples have no reference."""
        if self.dataset.task == "retrieval":
            return ()
        prompts = resolve_prompts(self.dataset.task, None)
        methods = task_of(self.dataset.task).methods
        if prompts is None:
            return ()
        return tuple(text for method in methods if method is not None for text in prompts.texts(method))

    def name(self, path: Path) -> str:
        """Return an image's path relative to the data root."""
        return relative_name(path, self.dataset.root)

    def _items(self) -> Iterator[Item]:
        for sample in self.samples:
            if sample.reference is not None:
                yield sample.reference
            yield from sample.alternatives


def choose_datasets(
    datasets: str | Path | Sequence[str | Path] | None,
    root: Path,
    split: Split = "test",
    protocol: Protocol = "paper",
) -> tuple[list[Dataset], dict[str, Status]]:
    """Find the sets of a run. Nothing but the presence of their files is looked at.

    Args:
        datasets: Ids, or files of one's own samples; None for those sets of the paper whose files are there.
        root: The data root.
        split: Which samples.
        protocol: As `load_dataset` takes it.

    Returns:
        The sets, and what is missing of those that were left out, by id.

    Raises:
        ValueError: If an id is unknown, two sets have the same one, or a set has no such split.
        OSError: If the root is no folder, or files of a set that was named are not there.
    """
    if split not in get_args(Split):
        raise ValueError(f"Argument `split` must be one of {get_args(Split)}, but got {split!r}.")
    if not root.is_dir():
        raise NotADirectoryError(
            f"Argument `root` must be the folder of the data, but there is none at {root}."
        )
    if datasets is None:
        paper = [load_dataset(name, root, protocol) for task in TASKS for name in task.datasets]
        having = [dataset for dataset in paper if split in dataset.files]
        states = {dataset.id: dataset.status(split) for dataset in having}
        found = [dataset for dataset in having if states[dataset.id].state == "present"]
        if not found:
            parts = [name for name, status in states.items() if status.state == "incomplete"]
            told = (
                f" Incomplete: {', '.join(parts)}. `unisim bench data status` tells what is missing."
                if parts
                else ""
            )
            raise FileNotFoundError(f"None of the benchmark's sets is in {root}.{told}")
        return found, {name: status for name, status in states.items() if status.state != "present"}
    named = [datasets] if isinstance(datasets, str | Path) else list(datasets)
    if not named:
        raise ValueError("Argument `datasets` must name at least one set, or be None, but it is empty.")
    chosen = [load_dataset(name, root, protocol) for name in named]
    _check_ids(named, chosen)
    for dataset in chosen:
        status = dataset.status(split)
        if status.state != "present":
            missing = ", ".join(status.missing)
            raise FileNotFoundError(
                f"Dataset {dataset.id!r} is {status.state} in {root}: there is no {missing}. See {dataset.url}"
            )
    return chosen, {}


def plan_set(dataset: Dataset, split: Split = "test", n: int | None = None, seed: int = 0) -> PlannedSet:
    """Draw the samples of a set.

    Args:
        dataset: The set.
        split: Which samples.
        n: How many; None for as many as in the paper. A set that has fewer gives all, with a warning. Retrieval takes
            all its queries.
        seed: Which draw.

    Raises:
        ValueError: As `Dataset.samples`.
        OSError: If an annotation file cannot be read.
    """
    if isinstance(dataset, RetrievalDataset):
        retrieval = dataset.retrieval()
        digest = hash_retrieval(retrieval, dataset.root)
        provenance = tell_provenance(dataset, split, len(retrieval.queries), None)
        return PlannedSet(dataset, split, seed, (), retrieval, digest, provenance)
    try:
        samples = dataset.samples(split, n, seed)
    except TooFewSamplesError as error:
        # One number is asked of all sets: the smaller ones give what they have.
        if not error.available:
            raise
        warnings.warn(
            f"Dataset {dataset.id!r} has {error.available} {split} samples, not {n}: all were taken.",
            UserWarning,
            stacklevel=2,
        )
        samples = dataset.samples(split, error.available, seed)
    digest = hash_samples(samples, dataset.root)
    provenance = tell_provenance(dataset, split, len(samples), n)
    return PlannedSet(dataset, split, seed, samples, None, digest, provenance)


def _check_ids(named: Sequence[str | Path], chosen: Sequence[Dataset]) -> None:
    """Results are kept by id: each must be one set's, a file's name, and no file of another kind."""
    known = set(list_datasets())
    seen: set[str] = set()
    for name, dataset in zip(named, chosen, strict=True):
        is_own = str(name) != dataset.id
        if dataset.id in seen or (is_own and dataset.id in known) or f"{dataset.id}.json" == META_NAME:
            raise ValueError(
                f"Argument `datasets` must name sets with an id of their own, but {dataset.id!r} (of {name}) is taken."
            )
        if not _FILE_NAME.fullmatch(dataset.id):
            raise ValueError(
                f"Argument `datasets` must name sets whose id can be a file's name, but got {dataset.id!r} (of {name})."
            )
        seen.add(dataset.id)
