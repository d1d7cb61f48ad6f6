"""The figures of one model: sets, tasks and groups, averaged as the paper does, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.statistics.bootstrap import percentiles
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import DRAWS, draw
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
    """A figure, or a difference of two, with draws from its confidence distribution.

    Attributes:
        value: The figure.
        drawn: The draws, shape `[draws]`.
        n: How many samples, or queries, it is of.
        samples: Where they are from; `"mixed"` for an average over several kinds.
        lowest: The smallest that it can be: 0 for a figure, -1 for a difference.
    """

    value: float
    drawn: NDArray[np.float64]
    n: int
    samples: Samples = "unknown"
    lowest: float = 0.0

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """Return the figure with its interval."""
        return percentiles(self.value, self.drawn, confidence)

    @classmethod
    def mean(cls, figures: Iterable[Figure]) -> Figure:
        """Return the plain mean of figures that are each of samples of their own.

        Score tests draw each part a little towards the middle, and the mean of draws as far, although its error is
        smaller. Half of that, but for one part's share, is taken back, which held the true mean most evenly in
        simulations; the other half is the skewness of the parts.
        """
        parts = list(figures)
        count = len(parts)
        value = fmean(part.value for part in parts)
        lowest = min(part.lowest for part in parts)
        drawn = sum((part.drawn for part in parts[1:]), start=parts[0].drawn) / count
        drawn = drawn - (1 - 1 / count) / 2 * (float(drawn.mean()) - value)
        kinds = {part.samples for part in parts}
        return cls(
            value,
            np.clip(drawn, lowest, 1.0),
            sum(part.n for part in parts),
            kinds.pop() if len(kinds) == 1 else "mixed",
            lowest,
        )


def summarize(
    results: Mapping[str, SetResult],
    *,
    paper_choice: bool = False,
    draws: int = DRAWS,
    confidence: float = 0.95,
) -> Summary:
    """Return the figures of a model, with intervals.

    A sample without a choice is left out. Quality and attributes are answered in the way, naive or CLIP-IQA, that
    `choose_methods` takes. The interval of an average comes from draws of each of its sets by itself. The demo's
    samples are in no average with others.

    Args:
        results: The results of one model, by set.
        paper_choice: Whether the way that is better on the scored samples themselves counts, as in the paper.
        draws: How many draws the intervals of averages are read from.
        confidence: How often such intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If a set has no sample with a choice, or results are after different numbers of demonstrations.
    """
    count_demonstrations(results)
    methods = choose_methods(results, paper_choice=paper_choice)
    sets = {
        name: replace(
            draw_set(name, result.seed, sample_values(result, methods), draws, result.shared),
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
    results: Mapping[str, SetResult], *, draws: int = DRAWS, confidence: float = 0.95
) -> dict[int, Estimate]:
    """Return a model's accuracy on HPDv2 over the number of alternatives (paper, Figure 4).

    Args:
        results: The results of one model, by set. With two alternatives that of `hpdv2` will do.
        draws: How many draws the intervals of averages are read from.
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
            figure = draw_set(name, result.seed, values, draws, result.shared)
            curve[alternatives] = figure.estimate(confidence)
    return curve


def draw_set(
    dataset: str,
    seed: int,
    values: NDArray[np.float64],
    draws: int = DRAWS,
    clusters: Clusters | None = None,
) -> Figure:
    """Return a model's figure on a set with draws from its confidence distribution.

    Args:
        dataset: The set's id.
        seed: Which draw of its samples.
        values: What each sample contributes, as `sample_values` has it.
        draws: How many.
        clusters: Which samples hang together; None if none do.

    Raises:
        ValueError: If there is no value.
    """
    count = count_samples(dataset, values)
    found = draw(values, dataset, seed, clusters=clusters, draws=draws)
    return Figure(found.value, found.figures, count)


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
