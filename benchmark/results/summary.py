"""The figures of one model: sets, tasks and groups, averaged as the paper does, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.statistics.bootstrap import RESAMPLES, average, percentiles, resample_together
from unisim_metrics.statistics.intervals import Estimate

from ..datasets.hpdv2 import NAFC_SETS, HPDv2
from ..tasks import TASKS, BenchmarkTask, Group, task_of
from .files import UNANSWERED

if TYPE_CHECKING:
    from unisim_metrics.tasks import Method

    from ..datasets.base import Kind
    from .files import SetResult

Level = Literal["set", "task", "group", "overall"]
Samples = Literal["paper", "subset", "demo", "own", "unknown", "mixed"]
"""Where the samples of a figure are from."""


@dataclass(frozen=True)
class Summary:
    """The figures of a model, each with its interval.

    Attributes:
        datasets: Of each set that was run, those of the paper first, in its order.
        tasks: Of each task of which all sets were run: the mean of its sets, by the task's id.
        groups: Of each group of which all tasks are there: the mean of its tasks; `"core"` and `"ood"`.
        overall: The mean of all seven tasks; None if one is missing. The paper has no such figure.
        methods: In which way quality and attributes are answered, by the task's id, where there are two.
    """

    datasets: Mapping[str, Estimate]
    tasks: Mapping[str, Estimate]
    groups: Mapping[Group, Estimate]
    overall: Estimate | None
    methods: Mapping[str, Method | None]


@dataclass(frozen=True)
class Figure:
    """A figure and what it would be on other samples.

    Attributes:
        value: The figure.
        resampled: The figures of resamples, shape `[resamples]`.
        n: How many samples, or queries, it is of.
        samples: Where they are from; `"mixed"` for an average over several kinds.
    """

    value: float
    resampled: NDArray[np.float64]
    n: int
    samples: Samples = "unknown"

    def __sub__(self, other: Figure) -> Figure:
        """Return the difference of two figures of the same samples."""
        return Figure(self.value - other.value, self.resampled - other.resampled, self.n, self.samples)

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """Return the figure with its percentile interval."""
        return percentiles(self.value, self.resampled, confidence)

    @classmethod
    def mean(cls, figures: Iterable[Figure]) -> Figure:
        """Return the plain mean of figures that are each of samples of their own."""
        parts = list(figures)
        total = sum((part.resampled for part in parts[1:]), start=parts[0].resampled)
        kinds = {part.samples for part in parts}
        samples: Samples = kinds.pop() if len(kinds) == 1 else "mixed"
        return cls(
            fmean(part.value for part in parts), total / len(parts), sum(part.n for part in parts), samples
        )


def summarize(
    results: Mapping[str, SetResult], *, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Summary:
    """Return the figures of a model, with bootstrap intervals.

    A sample without a choice is left out. Quality and attributes are answered in the way, naive or CLIP-IQA, that is
    better on the task's average (paper, Appendix C). The interval of an average comes from resampling each of its
    sets by itself. The demo's samples are in no average with others.

    Args:
        results: The results of one model, by set.
        resamples: How many resamples the intervals are read from.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If a set has no sample with a choice.
    """
    methods = choose_methods(results)
    sets = {
        name: replace(
            resample_set(name, result.seed, [sample_values(result, methods)], resamples)[0],
            samples=result.provenance or "unknown",
        )
        for name, result in results.items()
    }
    estimates: dict[Level, dict[str, Estimate]] = {"set": {}, "task": {}, "group": {}, "overall": {}}
    for (level, name), figure in average_sets(sets).items():
        estimates[level][name] = figure.estimate(confidence)
    return Summary(
        datasets=estimates["set"],
        tasks=estimates["task"],
        groups=cast("dict[Group, Estimate]", estimates["group"]),
        overall=estimates["overall"].get("all"),
        methods={task: method for task, method in methods.items() if method is not None},
    )


def task_means(results: Mapping[str, SetResult], figures: Mapping[str, Estimate]) -> dict[str, float]:
    """Return the mean of each task over those of its sets that were run, be they all or not.

    Args:
        results: The results of one model, by set.
        figures: Their figures, by set.

    Returns:
        The means by the task's id, in the order of `TASKS`; nothing of a task of which no set was run.
    """
    values: dict[str, list[float]] = {}
    for name, result in results.items():
        values.setdefault(_task(result).id, []).append(figures[name].value)
    return {task.id: fmean(values[task.id]) for task in TASKS if task.id in values}


def nafc_curve(
    results: Mapping[str, SetResult], *, resamples: int = RESAMPLES, confidence: float = 0.95
) -> dict[int, Estimate]:
    """Return a model's accuracy on HPDv2 over the number of alternatives (paper, Figure 4).

    Args:
        results: The results of one model, by set. With two alternatives that of `hpdv2` will do.
        resamples: How many resamples the intervals are read from.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Returns:
        The accuracy for each number of alternatives of which there is a result, ascending.

    Raises:
        ValueError: If a set has no sample with a choice.
    """
    ids = {dataset.alternatives: dataset.id for dataset in NAFC_SETS}
    if ids[2] not in results:
        ids[2] = HPDv2.id
    methods = choose_methods(results)
    curve = {}
    for alternatives, name in sorted(ids.items()):
        if name in results:
            values = sample_values(results[name], methods)
            (figure,) = resample_set(name, results[name].seed, [values], resamples)
            curve[alternatives] = figure.estimate(confidence)
    return curve


def choose_methods(results: Mapping[str, SetResult]) -> dict[str, Method | None]:
    """Return in which way each task is answered: the one that is better on the average of its sets.

    Where sets of the paper are there, they alone decide: sets of one's own are in no average.

    Args:
        results: The results of one model, by set.

    Raises:
        ValueError: If no way was tried on all sets of a task.
    """
    chosen: dict[str, Method | None] = {}
    for task in TASKS:
        there = {name: result for name, result in results.items() if _task(result) is task}
        if not there:
            continue
        tried = [{outcome.method: outcome.figure for outcome in result.outcomes} for result in there.values()]
        common = [method for method in (None, *task.methods) if all(method in figures for figures in tried)]
        if not common:
            raise ValueError(f"The sets {list(there)} of task {task.id!r} were not answered in one same way.")
        deciding = [
            figures for name, figures in zip(there, tried, strict=True) if name in task.datasets
        ] or tried
        chosen[task.id] = max(common, key=lambda method: fmean(figures[method] for figures in deciding))
    return chosen


def sample_values(result: SetResult, methods: Mapping[str, Method | None]) -> NDArray[np.float64]:
    """Return what each sample contributes to a set's figure.

    Args:
        result: The result of a model on the set.
        methods: In which way each task is answered.

    Returns:
        Shape `[n]`: 1 for a right choice, 0 for a wrong one, NaN for none. For retrieval `[n, 2]`: the average
        precision of each query by the protocols Medium and Hard, NaN where a query has none.
    """
    outcome = result.outcome(methods[_task(result).id])
    if outcome.average_precision is not None:
        return np.stack([outcome.average_precision["medium"], outcome.average_precision["hard"]], axis=1)
    return np.where(outcome.choices == UNANSWERED, np.nan, outcome.choices == result.labels)


def resample_set(
    dataset: str, seed: int, models: Sequence[NDArray[np.float64]], resamples: int = RESAMPLES
) -> list[Figure]:
    """Return the figures of models on a set, all with the same resamples.

    Args:
        dataset: The set's id.
        seed: Which draw of its samples.
        models: What each sample contributes to the figure of each model, as `sample_values` has it.
        resamples: How many.

    Raises:
        ValueError: If a model has no value.
    """
    known = [~np.isnan(values) for values in models]
    if not all(values.any() for values in known):
        raise ValueError(f"Dataset {dataset!r} has no sample with a choice.")
    return [
        Figure(average(values), resampled, int(np.sum(there if there.ndim == 1 else there.any(axis=1))))
        for values, there, resampled in zip(
            models, known, resample_together(models, dataset, seed, resamples=resamples), strict=True
        )
    ]


def average_sets(sets: Mapping[str, Figure]) -> dict[tuple[Level, str], Figure]:
    """Return the rows of a table: sets and their averages, by level and name.

    Each task stands behind its sets, in the paper's order, then come sets that the paper does not have, by name, the
    groups, and `"all"` tasks. An average of which a part is missing is left out, and so is one of the demo's samples
    and of others.

    Args:
        sets: The figures of sets, by their ids.
    """
    rows: dict[tuple[Level, str], Figure] = {}
    for task in TASKS:
        rows.update({("set", name): sets[name] for name in task.datasets if name in sets})
        _add_mean(rows, ("task", task.id), [("set", name) for name in task.datasets])
    rows.update({("set", name): sets[name] for name in sorted(sets) if ("set", name) not in rows})
    for group in get_args(Group):
        _add_mean(rows, ("group", group), [("task", task.id) for task in TASKS if task.group == group])
    _add_mean(rows, ("overall", "all"), [("task", task.id) for task in TASKS])
    return rows


def _add_mean(
    rows: dict[tuple[Level, str], Figure], row: tuple[Level, str], parts: Sequence[tuple[Level, str]]
) -> None:
    if all(part in rows for part in parts):
        kinds = {rows[part].samples for part in parts}
        if kinds == {"demo"} or "demo" not in kinds:
            rows[row] = Figure.mean(rows[part] for part in parts)


def _task(result: SetResult) -> BenchmarkTask:
    return task_of(cast("Kind", result.task))
