"""The figures of one model: sets, tasks and groups, averaged as the paper does, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.statistics.bootstrap import RESAMPLES, percentiles, resample
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.intervals import Estimate

from ..datasets.hpdv2 import NAFC_SETS, HPDv2
from ..tasks import TASKS, Group
from .files import count_demonstrations
from .methods import MethodChoice, asked_in, choose_methods, sample_values

if TYPE_CHECKING:
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
        methods: In which way quality and attributes were answered, by the task's id, where there are two.
    """

    datasets: Mapping[str, Estimate]
    tasks: Mapping[str, Estimate]
    groups: Mapping[Group, Estimate]
    overall: Estimate | None
    methods: Mapping[str, MethodChoice]


@dataclass(frozen=True)
class Figure:
    """A figure, or a difference of two, and what it would be on other samples.

    Attributes:
        value: The figure.
        resampled: The figures of resamples, shape `[resamples]`.
        n: How many samples, or queries, it is of.
        samples: Where they are from; `"mixed"` for an average over several kinds.
        degrees: The degrees of freedom of its variance.
        lowest: The smallest that it can be: 0 for a figure, -1 for a difference.
    """

    value: float
    resampled: NDArray[np.float64]
    n: int
    samples: Samples = "unknown"
    degrees: float = math.inf
    lowest: float = 0.0

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """Return the figure with its interval."""
        return percentiles(self.value, self.resampled, confidence, self.degrees, (self.lowest, 1.0))

    @classmethod
    def mean(cls, figures: Iterable[Figure]) -> Figure:
        """Return the plain mean of figures that are each of samples of their own.

        The samples that nobody saw draw each part a little towards the middle, and the mean as far, although its error
        is smaller: all but one part's share of that is taken back (as Price and Bonett, 2004, divide theirs among the
        parts). Degrees of freedom are Satterthwaite's (1946).
        """
        parts = list(figures)
        count = len(parts)
        value = fmean(part.value for part in parts)
        resampled = sum((part.resampled for part in parts[1:]), start=parts[0].resampled) / count
        resampled = resampled - (1 - 1 / count) * (float(resampled.mean()) - value)
        variances = [float(part.resampled.var()) for part in parts]
        inverse = sum(variance**2 / part.degrees for variance, part in zip(variances, parts, strict=True))
        kinds = {part.samples for part in parts}
        return cls(
            value,
            resampled,
            sum(part.n for part in parts),
            kinds.pop() if len(kinds) == 1 else "mixed",
            sum(variances) ** 2 / inverse if inverse else math.inf,
            min(part.lowest for part in parts),
        )


def summarize(
    results: Mapping[str, SetResult],
    *,
    paper_choice: bool = False,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Summary:
    """Return the figures of a model, with bootstrap intervals.

    A sample without a choice is left out. Quality and attributes are answered in the way, naive or CLIP-IQA, that
    `choose_methods` takes. The interval of an average comes from resampling each of its sets by itself. The demo's
    samples are in no average with others.

    Args:
        results: The results of one model, by set.
        paper_choice: Whether the way that is better on the scored samples themselves counts, as in the paper.
        resamples: How many resamples the intervals are read from.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If a set has no sample with a choice, or results are after different numbers of demonstrations.
    """
    count_demonstrations(results)
    methods = choose_methods(results, paper_choice=paper_choice)
    sets = {
        name: replace(
            resample_set(name, result.seed, sample_values(result, methods), resamples, result.shared),
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
        methods={task: choice for task, choice in methods.items() if choice.title},
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
        values.setdefault(asked_in(result).id, []).append(figures[name].value)
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
            result = results[name]
            values = sample_values(result, methods)
            figure = resample_set(name, result.seed, values, resamples, result.shared)
            curve[alternatives] = figure.estimate(confidence)
    return curve


def resample_set(
    dataset: str,
    seed: int,
    values: NDArray[np.float64],
    resamples: int = RESAMPLES,
    clusters: Clusters | None = None,
) -> Figure:
    """Return a model's figure on a set with its resamples.

    Args:
        dataset: The set's id.
        seed: Which draw of its samples.
        values: What each sample contributes, as `sample_values` has it.
        resamples: How many.
        clusters: Which samples hang together; None if none do.

    Raises:
        ValueError: If there is no value.
    """
    count = count_samples(dataset, values)
    found = resample(values, dataset, seed, clusters=clusters, resamples=resamples)
    return Figure(found.value, found.figures, count, degrees=found.degrees)


def count_samples(dataset: str, values: NDArray[np.float64]) -> int:
    """Return how many samples have a value.

    Raises:
        ValueError: If none has.
    """
    known = ~np.isnan(values)
    if not known.any():
        raise ValueError(f"Dataset {dataset!r} has no sample with a choice.")
    return int(np.sum(known if known.ndim == 1 else known.any(axis=1)))


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
