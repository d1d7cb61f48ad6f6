"""From samples and a model to choices and figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unisim_metrics import functional
from unisim_metrics.errors import ImageReadError
from unisim_metrics.images.threads import ahead

from ..data.image_reading import show
from ..results.files import NO_ALTERNATIVE, UNANSWERED
from ..samples import Item, Sample
from ..tasks import task_of
from .encoding import share_batches

if TYPE_CHECKING:
    from unisim_metrics.models import PerceptualModel
    from unisim_metrics.tasks import Method, Task

    from ..datasets import Dataset
    from .encoding import SetEmbeddings
    from .planning import PlannedSet
    from .processes import Processes

Demonstration: TypeAlias = tuple[Any, tuple[Any, ...], int]
"""A solved sample: reference, alternatives, index of the right one; images as Pillow images."""

_Shown: TypeAlias = tuple[Any, tuple[Any, ...]]

_PROTOCOLS: tuple[Literal["medium", "hard"], ...] = ("medium", "hard")
# Samples whose scores are computed together: bounds the memory of large sets.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Answer:
    """How a model answered a set in one way.

    Attributes:
        method: The way, for quality and attributes; None where there is one way only.
        choices: The index of the chosen alternative, `[n]`, or `UNANSWERED` or `NO_ALTERNATIVE`; None for retrieval.
        margins: The score of the first alternative less that of the second, `[n]`, NaN where there are not two with a
            score; None for retrieval.
        average_precision: For retrieval: of each query, `[n]`, by protocol; NaN for a query that has none.
    """

    method: Method | None = None
    choices: NDArray[np.uint8] | None = None
    margins: NDArray[np.float64] | None = None
    average_precision: dict[Literal["medium", "hard"], NDArray[np.float64]] | None = None

    def values(self, labels: NDArray[np.uint8] | None) -> NDArray[np.float64]:
        """Return what each sample contributes to the figure: `[n]`, or `[n, 2]` for retrieval; NaN for nothing."""
        if self.average_precision is not None:
            return np.stack([self.average_precision[protocol] for protocol in _PROTOCOLS], axis=1)
        return np.where(self.choices == UNANSWERED, np.nan, self.choices == labels)


def judge_embeddings(
    planned: PlannedSet, embeddings: SetEmbeddings, unreadable: Collection[Path]
) -> list[Answer]:
    """Answer samples from embeddings, in each way of their task.

    Args:
        planned: The samples.
        embeddings: Of all their items that could be read.
        unreadable: The images that could not.
    """
    task = cast("Task", planned.dataset.task)
    answered = [index for index, sample in enumerate(planned.samples) if not _shows(sample, unreadable)]
    answers = []
    for method in task_of(planned.dataset.task).methods:
        choices = np.full(len(planned.samples), UNANSWERED, dtype=np.uint8)
        margins = np.full(len(planned.samples), np.nan)
        for start in range(0, len(answered), _AT_ONCE):
            part = answered[start : start + _AT_ONCE]
            samples = (planned.samples[index] for index in part)
            references, alternatives = _columns(
                [(sample.reference, sample.alternatives) for sample in samples]
            )
            scores = functional.compare(embeddings, references, alternatives, task, method or "naive")
            choices[part], margins[part] = _choose(scores), _margins(scores)
        answers.append(Answer(method, choices, margins))
    return answers


def judge_retrieval(
    planned: PlannedSet, embeddings: SetEmbeddings, unreadable: Collection[Path]
) -> list[Answer]:
    """Rank the gallery for each query, by the revisited protocols Medium and Hard.

    A gallery image that could not be read counts neither for nor against.

    Args:
        planned: The queries and the gallery.
        embeddings: Of all images that could be read.
        unreadable: The images that could not.
    """
    retrieval = planned.retrieval
    if retrieval is None:
        raise ValueError(
            f"Argument `planned` must be of a set for retrieval, but got {planned.dataset.id!r}."
        )
    shown = [index for index, path in enumerate(retrieval.gallery) if path not in unreadable]
    easy, hard, junk = (
        torch.from_numpy(mask[:, shown]) for mask in (retrieval.easy, retrieval.hard, retrieval.junk)
    )
    gallery = embeddings.embed_images([retrieval.gallery[index] for index in shown])
    precision = {protocol: np.full(planned.n, np.nan) for protocol in _PROTOCOLS}
    for row, query in enumerate(retrieval.queries):
        if query in unreadable:
            continue
        # One query at a time: the similarities of all would take gigabytes.
        scores = functional.cosine_similarity(gallery, embeddings.embed_images([query]))[None]
        one = slice(row, row + 1)
        for protocol in _PROTOCOLS:
            precision[protocol][row] = functional.revisited_average_precision(
                scores.double(), easy[one], hard[one], junk[one], protocol
            ).item()
    return [Answer(average_precision=precision)]


def judge_comparisons(
    planned: PlannedSet,
    model: PerceptualModel,
    processes: Processes,
    *,
    batch_size: int,
    workers: int,
    advance: Callable[[int], object] = lambda count: None,
) -> tuple[list[Answer], dict[Path, str]]:
    """Let a model answer samples by itself, which it is shown in batches.

    Args:
        planned: The samples.
        model: The model, of which only `compare` is called.
        processes: Who shares the work; each one gets all answers.
        batch_size: Samples that are asked about together.
        workers: How many threads read images ahead.
        advance: Is called with numbers of samples that are done.

    Returns:
        The answer, and why images could not be read.

    Raises:
        ValueError: If the model takes a sample for wrong.
    """
    task = cast("Task", planned.dataset.task)
    batches = share_batches(range(planned.n), batch_size, processes)
    chosen: dict[int, tuple[int, float]] = {}
    unreadable: dict[Path, str] = {}
    failure: Exception | None = None

    def read(index: int) -> tuple[_Shown, dict[Path, str]]:
        problems: dict[Path, str] = {}
        return _load(planned.dataset, planned.samples[index], problems), problems

    try:
        for batch, samples in ahead(batches, read, workers):
            shown = {}
            for index, (sample, problems) in zip(batch, samples, strict=True):
                unreadable.update(problems)
                if not problems:
                    shown[index] = sample
            if shown:
                references, alternatives = _columns(list(shown.values()))
                with torch.no_grad():
                    scores = model.compare(references, alternatives, task=task)
                answered = zip(_choose(scores).tolist(), _margins(scores).tolist(), strict=True)
                chosen.update(zip(shown, answered, strict=True))
            advance(len(batch))
    except (ValueError, OSError) as error:
        failure = error
    choices, margins = np.full(planned.n, UNANSWERED, dtype=np.uint8), np.full(planned.n, np.nan)
    for theirs, problems, theirs_failed in processes.collect((chosen, unreadable, failure)):
        if theirs_failed is not None:
            raise theirs_failed
        for index, (choice, margin) in theirs.items():
            choices[index], margins[index] = choice, margin
        unreadable.update(problems)
    return [Answer(choices=choices, margins=margins)], unreadable


def demonstrate(model: PerceptualModel, planned: PlannedSet, count: int) -> PerceptualModel:
    """Return the model as it answers with solved samples before each question (paper, Figure 5).

    Args:
        model: The model. The protocol does not ask for it, but some have `with_demonstrations`.
        planned: The set that is to be answered.
        count: How many; with 0 the model is returned as it is.

    Raises:
        ValueError: If the model takes none, or the set has none to spare.
        OSError: If one of their images cannot be read.
    """
    if not count:
        return model
    with_demonstrations: Callable[[Sequence[Demonstration]], PerceptualModel] | None
    with_demonstrations = getattr(model, "with_demonstrations", None)
    if with_demonstrations is None:
        raise ValueError(
            f"Argument `demonstrations` must be 0 for {model.name!r}, which has no `with_demonstrations`, but got"
            f" {count}."
        )
    return cast("PerceptualModel", with_demonstrations(solved_samples(planned, count)))


def solved_samples(planned: PlannedSet, count: int) -> list[Demonstration]:
    """Return solved samples of a set's training split, the first of its draw.

    Args:
        planned: The set that is to be answered.
        count: How many.

    Raises:
        ValueError: If the set has none to spare.
        OSError: If one of their images cannot be read.
    """
    dataset = planned.dataset
    if planned.split != "test" or "train" not in dataset.files:
        raise ValueError(
            "Argument `demonstrations` must be 0 for a set without training samples beside those that are asked"
            f" about, but got {count} for {dataset.id!r}."
        )
    solved = []
    for sample in dataset.samples("train", count, planned.seed):
        reference, alternatives = _load(dataset, sample)
        solved.append((reference, alternatives, sample.label))
    return solved


def _load(dataset: Dataset, sample: Sample, problems: dict[Path, str] | None = None) -> _Shown:
    """The images of a sample as they are shown; `problems` gets those that cannot be read, else it is an error."""

    def load(item: Item | None) -> Any:
        if not isinstance(item, Path):
            return item
        try:
            return show(dataset, item)
        except ImageReadError as error:
            if problems is None:
                raise
            problems[item] = str(error)
            return None

    return load(sample.reference), tuple(load(item) for item in sample.alternatives)


def _columns(samples: Sequence[_Shown]) -> tuple[list[Any] | None, list[list[Any]]]:
    """References and alternatives as `compare` takes them."""
    references = [reference for reference, _ in samples]
    return None if references[0] is None else references, [list(group) for _, group in samples]


def _choose(scores: Tensor) -> NDArray[np.uint8]:
    """The best alternative of each sample, the first of several, or `NO_ALTERNATIVE` where none has a score."""
    choices = torch.where(scores.isnan().all(dim=-1), NO_ALTERNATIVE, functional.choose(scores))
    return choices.cpu().numpy().astype(np.uint8)


def _margins(scores: Tensor) -> NDArray[np.float64]:
    """How much higher the first of two alternatives scores than the second; NaN where there are not two."""
    values = scores.double().cpu().numpy()
    is_pair = (~np.isnan(values)).sum(axis=1) == 2
    return np.where(is_pair, values[:, 0] - values[:, 1], np.nan)


def _shows(sample: Sample, images: Collection[Path]) -> bool:
    return sample.reference in images or any(item in images for item in sample.alternatives)
