"""What was measured: the results of each model under a folder, and their averages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from unisim_metrics.statistics.intervals import Estimate

from ..datasets import load_dataset
from ..paper import PaperModel, find_model
from ..provenance import Provenance, is_published
from ..results.files import ModelMeta, SetResult, read_results
from ..results.summary import Summary, summarize
from ..tasks import TASKS, Group

SETS = tuple(name for task in TASKS for name in task.datasets)
"""The paper's sets, in its order."""


@dataclass(frozen=True)
class Measurement:
    """One model's results.

    Attributes:
        meta: What describes the model.
        results: Those that the tables are about, by set: of the test split, of the paper's samples, without
            demonstrations.
        shown: Its results on the paper's samples after demonstrations.
        apart: Its results on any other samples.
        summary: The averages of `results`.
        model: The model of the paper that it is; None if the paper does not have it.
        paper_choice: Whether quality and attributes count in the way that the paper would take.
    """

    meta: ModelMeta
    results: Mapping[str, SetResult]
    shown: tuple[SetResult, ...]
    apart: tuple[SetResult, ...]
    summary: Summary
    model: PaperModel | None
    paper_choice: bool = False

    @property
    def id(self) -> str:
        """A name that no other measurement has."""
        return f"{self.meta.name}@{self.meta.weights_hash[:12]}"

    @property
    def fewer(self) -> tuple[str, ...]:
        """The sets of which it was asked about fewer samples than the models of the paper."""
        sizes = _sizes()
        return tuple(name for name, result in self.results.items() if result.n < sizes.get(name, 0))

    @property
    def truncated(self) -> dict[str, int]:
        """How many texts were cut to the model's context, by set, where that is known."""
        return {
            name: result.truncated_texts
            for name, result in self.results.items()
            if result.truncated_texts is not None
        }

    def asked(self, group: Group) -> dict[str, str]:
        """Return in which way quality and attributes were asked, by the columns of a group's table."""
        tasks = {task.id: task for task in TASKS if task.group == group}
        return {
            name: choice.title
            for id, choice in self.summary.methods.items()
            if id in tasks
            for name in (id, *tasks[id].datasets)
        }

    def figures(self, group: Group) -> dict[str, Estimate]:
        """Return the figures for the columns of a group's table."""
        tasks = [task for task in TASKS if task.group == group]
        names = {name for task in tasks for name in (task.id, *task.datasets)}
        found = {**self.summary.datasets, **self.summary.tasks}
        figures = {name: estimate for name, estimate in found.items() if name in names}
        average = self.summary.groups.get(group)
        return figures if average is None else {**figures, "average": average}


def read_measurements(*folders: Path, paper_choice: bool = False) -> tuple[Measurement, ...]:
    """Read the results of all models under folders, sorted by folder.

    Results of one model, with the same weights, are put together. Of those of one set, one kind of samples and one
    number of demonstrations, the first folder's count.

    Args:
        folders: Folders with results of `run`.
        paper_choice: As `summarize` takes it.

    Raises:
        ValueError: If a file is none of results. The message names file and field.
    """
    metas: dict[tuple[str, str], ModelMeta] = {}
    found: dict[tuple[str, str], dict[tuple[str, int, Provenance | None], SetResult]] = {}
    for folder in folders:
        for meta, results in read_results(folder):
            key = meta.name, meta.weights_hash
            metas.setdefault(key, meta)
            for result in results.values():
                if result.split == "test":
                    asked = result.dataset, result.demonstrations, result.provenance
                    found.setdefault(key, {}).setdefault(asked, result)
    return tuple(_measure(meta, found.get(key, {}).values(), paper_choice) for key, meta in metas.items())


def _measure(meta: ModelMeta, found: Iterable[SetResult], paper_choice: bool) -> Measurement:
    plain, shown, apart = {}, [], []
    for result in found:
        if not _is_of_paper(result):
            apart.append(result)
        elif result.demonstrations == 0:
            plain[result.dataset] = result
        else:
            shown.append(result)
    summary = summarize(plain, paper_choice=paper_choice)
    return Measurement(meta, plain, tuple(shown), tuple(apart), summary, find_model(meta.name), paper_choice)


def _is_of_paper(result: SetResult) -> bool:
    """Whether a result is of a set of the paper, whole, and asks what that set asks."""
    if result.provenance != "paper" or not is_published(result.dataset):
        return False
    # No file is looked at for it.
    return result.task == load_dataset(result.dataset, ".").task


@cache
def _sizes() -> dict[str, int]:
    # No file is looked at for it.
    return {name: load_dataset(name, ".").size for name in SETS}
