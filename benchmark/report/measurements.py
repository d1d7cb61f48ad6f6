"""What was measured: the results of each model under a folder, and their averages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..datasets import load_dataset
from ..paper import PaperModel, find_model
from ..results import ModelMeta, SetResult, read_results
from ..statistics import Estimate
from ..summary import Summary, summarize
from ..tasks import TASKS, Group

__all__ = ["SETS", "Measurement", "read_measurements"]

SETS = tuple(name for task in TASKS for name in task.datasets)
"""The paper's sets, in its order."""


@dataclass(frozen=True)
class Measurement:
    """One model's results.

    Attributes:
        meta: What describes the model.
        results: Those that the tables are about, by set: of the test split, without demonstrations.
        shown: Its results after demonstrations.
        summary: The averages of `results`.
        model: The model of the paper that it is; None if the paper does not have it.
    """

    meta: ModelMeta
    results: Mapping[str, SetResult]
    shown: tuple[SetResult, ...]
    summary: Summary
    model: PaperModel | None

    @property
    def id(self) -> str:
        """A name that no other measurement has."""
        return f"{self.meta.name}@{self.meta.weights_hash[:12]}"

    @property
    def fewer(self) -> tuple[str, ...]:
        """The sets of which it was asked about fewer samples than the models of the paper."""
        sizes = _sizes()
        return tuple(name for name, result in self.results.items() if result.n < sizes.get(name, 0))

    def figures(self, group: Group) -> dict[str, Estimate]:
        """Return the figures for the columns of a group's table."""
        tasks = [task for task in TASKS if task.group == group]
        names = {name for task in tasks for name in (task.id, *task.datasets)}
        found = {**self.summary.datasets, **self.summary.tasks}
        figures = {name: estimate for name, estimate in found.items() if name in names}
        average = self.summary.groups.get(group)
        return figures if average is None else {**figures, "average": average}


def read_measurements(*folders: Path) -> tuple[Measurement, ...]:
    """Read the results of all models under folders, sorted by folder.

    Results of one model, with the same weights, are put together. Of those of one set and one number of
    demonstrations, the first folder's count.

    Raises:
        ValueError: If a file is none of results. The message names file and field.
    """
    metas: dict[tuple[str, str], ModelMeta] = {}
    found: dict[tuple[str, str], dict[tuple[str, int], SetResult]] = {}
    for folder in folders:
        for meta, results in read_results(folder):
            key = meta.name, meta.weights_hash
            metas.setdefault(key, meta)
            for result in results.values():
                if result.split == "test":
                    found.setdefault(key, {}).setdefault((result.dataset, result.demonstrations), result)
    return tuple(_measure(meta, found.get(key, {})) for key, meta in metas.items())


def _measure(meta: ModelMeta, found: Mapping[tuple[str, int], SetResult]) -> Measurement:
    plain = {name: result for (name, demonstrations), result in found.items() if demonstrations == 0}
    shown = tuple(result for (_, demonstrations), result in found.items() if demonstrations > 0)
    return Measurement(meta, plain, shown, summarize(plain), find_model(meta.name))


@cache
def _sizes() -> dict[str, int]:
    # No file is looked at for it.
    return {name: load_dataset(name, ".").size for name in SETS}
