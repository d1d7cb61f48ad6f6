"""In which way quality and attributes are answered, naive or CLIP-IQA, and on which samples that is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import average
from unisim_metrics.statistics.stream import Stream
from unisim_metrics.tasks import METHODS

from ..tasks import TASKS, BenchmarkTask, task_of

if TYPE_CHECKING:
    from unisim_metrics.tasks import Method

    from ..datasets.base import Kind
    from .files import SetResult


@dataclass(frozen=True)
class MethodChoice:
    """In which way a model answers a task.

    Attributes:
        first: The way for the first half of each set.
        second: The way for the second half.
    """

    first: Method | None
    second: Method | None

    @property
    def title(self) -> str:
        """Which way was taken: `"naive"`, `"clip-iqa"`, `"naive / clip-iqa"`; empty where there is one only."""
        return " / ".join(way for way in METHODS if way in (self.first, self.second))


def choose_methods(
    results: Mapping[str, SetResult], *, paper_choice: bool = False
) -> dict[str, MethodChoice]:
    """Return in which way each task is answered.

    Each set is split in halves (`in_second_half`). Either half counts in the way that is better on the average of the
    task's other halves, so that no sample counts in a way that was chosen on it. Where there are no other samples, the
    first way counts, naive. Where sets of the paper are there, they alone decide: sets of one's own are in no average.

    Args:
        results: The results of one model, by set.
        paper_choice: Whether the way that is better on the average of the whole sets counts instead (paper, Appendix
            C): the better of two on the samples that they are scored on.

    Returns:
        The choice for each task of which there are results, by its id.

    Raises:
        ValueError: If no way was tried on all sets of a task.
    """
    chosen: dict[str, MethodChoice] = {}
    for task in TASKS:
        there = {name: result for name, result in results.items() if asked_in(result) is task}
        if not there:
            continue
        tried = [{outcome.method for outcome in result.outcomes} for result in there.values()]
        common = [method for method in (None, *task.methods) if all(method in ways for ways in tried)]
        if not common:
            raise ValueError(f"The sets {list(there)} of task {task.id!r} were not answered in one same way.")
        deciding = [result for name, result in there.items() if name in task.datasets] or [*there.values()]
        if len(common) == 1:
            chosen[task.id] = MethodChoice(common[0], common[0])
        elif paper_choice:
            whole = [{way: result.outcome(way).figure for way in common} for result in deciding]
            way = _better(common, whole)
            chosen[task.id] = MethodChoice(way, way)
        else:
            halves = [in_second_half(result) for result in deciding]
            second = _better(common, _figures(deciding, [~half for half in halves], common))
            # With single groups only nobody is in the first half.
            has_first = any(not in_second_half(result).all() for result in there.values())
            first = _better(common, _figures(deciding, halves, common)) if has_first else second
            chosen[task.id] = MethodChoice(first, second)
    return chosen


def sample_values(result: SetResult, methods: Mapping[str, MethodChoice]) -> NDArray[np.float64]:
    """Return what each sample contributes to a set's figure, as `Outcome.values` has it.

    Args:
        result: The result of a model on the set.
        methods: In which way each task is answered.
    """
    choice = methods[asked_in(result).id]
    first = result.outcome(choice.first).values(result.labels)
    if choice.first == choice.second:
        return first
    return np.where(in_second_half(result), result.outcome(choice.second).values(result.labels), first)


def in_second_half(result: SetResult) -> NDArray[np.bool_]:
    """Return which samples of a set are in its second half, `[n]`: the same ones for any model.

    Groups of samples that hang together stay whole; their order is drawn by the set and its seed. Where groups overlap,
    samples stay together that have the first label in common. A single group is the second half.

    Args:
        result: The result of any model on the set.
    """
    groups = Clusters(result.shared.labels[:, 0])
    order = Stream("methods", result.dataset, result.seed).permutation(groups.count, "halves")
    sizes = groups.sizes[order]
    is_second = np.empty(groups.count, dtype=np.bool_)
    # By where a group's middle falls: no half is empty where there are two groups.
    is_second[order] = sizes.cumsum() - sizes / 2 >= result.n / 2
    return is_second[groups.labels[:, 0]]


def asked_in(result: SetResult) -> BenchmarkTask:
    """Return the benchmark's task to which a set belongs."""
    return task_of(cast("Kind", result.task))


def _figures(
    results: Sequence[SetResult], parts: Sequence[NDArray[np.bool_]], methods: Sequence[Method | None]
) -> list[dict[Method | None, float]]:
    """Return the figures by each way on parts of sets; none of a set of which no sample there has a choice."""
    found = []
    for result, part in zip(results, parts, strict=True):
        values = {way: result.outcome(way).values(result.labels)[part] for way in methods}
        if not any(np.isnan(known).all() for known in values.values()):
            found.append({way: average(known) for way, known in values.items()})
    return found


def _better(
    methods: Sequence[Method | None], figures: Sequence[Mapping[Method | None, float]]
) -> Method | None:
    """Return the way with the highest mean, the first of several, or where there are no figures."""
    if not figures:
        return methods[0]
    return max(methods, key=lambda way: fmean(each[way] for each in figures))
