"""From the triplets of a step to tensors: images decoded and prepared, texts as rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unisim_metrics.benchmark.samples import Item, Sample
from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import Preprocessing, load_image, preprocess
from unisim_metrics.prompts import PromptsLike, resolve_prompts
from unisim_metrics.tasks import ATTRIBUTES, Task, modalities

from ..objective import Triplets
from ..stream import TripletStream


@dataclass(frozen=True)
class Indices:
    """The triplets of one task as rows of the batch's images and of the table of texts.

    Attributes:
        references: `[B]`.
        alternatives: `[B, 2]`.
        labels: `[B]`.
        of_images: Whether references, and whether alternatives, are images.
    """

    references: Tensor
    alternatives: Tensor
    labels: Tensor
    of_images: tuple[bool, bool]

    def embed(self, images: Tensor, texts: Tensor) -> Triplets:
        """Look the embeddings up: images `[M, D]` of the batch, texts `[T, D]` of the table."""
        first, second = (images if is_image else texts for is_image in self.of_images)
        return Triplets(
            first[self.references.to(first.device)].to(images.device),
            second[self.alternatives.to(second.device)].to(images.device),
            self.labels.to(images.device),
        )


@dataclass(frozen=True)
class Batch:
    """What one pass of the encoder takes: every image of every task once.

    Attributes:
        pixels: Prepared images `[M, 3, S, S]`.
        tasks: The triplets of each task; none for a task all of whose images were unreadable.
        unreadable: The files that could not be read, with the reason.
        skipped: How many triplets are left out for each of them.
    """

    pixels: Tensor
    tasks: dict[Task, Indices]
    unreadable: dict[Path, str] = field(default_factory=dict)
    skipped: Counter[Path] = field(default_factory=Counter)


class TextTable:
    """The texts that the first steps of a stream meet, each with a row of its own.

    Args:
        stream: The triplets.
        steps: How many steps there are.
        prompts: The texts of quality and attributes, of triplets that have none of their own.
    """

    def __init__(self, stream: TripletStream, steps: int, prompts: PromptsLike = None) -> None:
        self.prompts = prompts
        self.rows: dict[str, int] = {}
        for task in stream.tasks:
            if modalities(task) == ("image", "image"):
                continue
            # Where nobody but the task gives a text, one triplet tells it.
            for sample in stream.met(task, steps if task not in ATTRIBUTES else 1):
                for item in _items([sample], task, prompts):
                    if isinstance(item, str):
                        self.rows.setdefault(item, len(self.rows))

    @property
    def texts(self) -> list[str]:
        """The texts in the order of their rows."""
        return list(self.rows)


def reference_of(sample: Sample, task: Task, prompts: PromptsLike = None) -> Item:
    """Return the reference of a triplet: for quality and attributes the text that says what is judged.

    Args:
        sample: The triplet.
        task: Its task.
        prompts: The texts of quality and attributes, of triplets that have none of their own.

    Raises:
        ValueError: If the triplet has none and the task gives none.
    """
    if sample.reference is not None:
        return sample.reference
    texts = resolve_prompts(task, prompts)
    if texts is None:
        raise ValueError(f"A triplet of task {task!r} must have a reference, but got None.")
    return texts.naive


class TripletBatches(Dataset[Batch]):
    """The batches of a process, by their number.

    Args:
        stream: The triplets.
        table: The rows of the texts.
        preprocessing: How the model wants its images.
        rank: Which process this is.
        processes: How many processes share a step.
        accumulation: Into how many batches a process cuts its share of a step.
    """

    def __init__(
        self,
        stream: TripletStream,
        table: TextTable,
        preprocessing: Preprocessing,
        rank: int = 0,
        processes: int = 1,
        accumulation: int = 1,
    ) -> None:
        self.stream = stream
        self.table = table
        self.preprocessing = preprocessing
        self.rank = rank
        self.processes = processes
        self.accumulation = accumulation

    def __getitem__(self, number: int) -> Batch:
        """Make batch `number`, counted over steps and their parts."""
        step, part = divmod(number, self.accumulation)
        samples = self.stream.step(
            step, self.rank * self.accumulation + part, self.processes * self.accumulation
        )
        return self._collate(samples)

    def loader(self, start: int, stop: int, workers: int) -> Iterator[Batch]:
        """Iterate over the batches of the steps `start` to `stop`, prepared ahead in worker processes."""
        numbers = range(start * self.accumulation, stop * self.accumulation)
        loader = DataLoader(
            self,
            sampler=numbers,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
        )
        return iter(loader)

    def _collate(self, samples: dict[Task, list[Sample]]) -> Batch:
        paths = dict.fromkeys(
            item
            for task, listed in samples.items()
            for item in _items(listed, task, self.table.prompts)
            if isinstance(item, Path)
        )
        images: dict[Path, Tensor] = {}
        unreadable: dict[Path, str] = {}
        for path in paths:
            try:
                images[path] = load_image(path)
            except ImageReadError as error:
                unreadable[path] = str(error)
        rows: dict[Item, int] = {path: row for row, path in enumerate(images)}
        tasks = {}
        skipped: Counter[Path] = Counter()
        for task, listed in samples.items():
            broken = [
                unreadable.keys() & set(_items([sample], task, self.table.prompts)) for sample in listed
            ]
            skipped.update(path for paths in broken for path in paths)
            whole = [sample for sample, paths in zip(listed, broken, strict=True) if not paths]
            if whole:
                tasks[task] = self._indices(whole, task, rows)
        size = self.preprocessing.size
        pixels = (
            preprocess(list(images.values()), self.preprocessing) if images else torch.empty(0, 3, size, size)
        )
        return Batch(pixels, tasks, unreadable, skipped)

    def _indices(self, samples: Sequence[Sample], task: Task, images: dict[Item, int]) -> Indices:
        def row(item: Item) -> int:
            return images[item] if isinstance(item, Path) else self.table.rows[item]

        references = [reference_of(sample, task, self.table.prompts) for sample in samples]
        return Indices(
            torch.tensor([row(item) for item in references]),
            torch.tensor([[row(item) for item in sample.alternatives] for sample in samples]),
            torch.tensor([sample.label for sample in samples]),
            (isinstance(references[0], Path), isinstance(samples[0].alternatives[0], Path)),
        )


def _items(samples: Iterable[Sample], task: Task, prompts: PromptsLike) -> Iterator[Item]:
    for sample in samples:
        yield reference_of(sample, task, prompts)
        yield from sample.alternatives
