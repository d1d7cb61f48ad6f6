"""Which triplets a step of the training sees: a function of the seed and of the step alone.

Nothing is remembered from step to step, so that any step can be made again: by another number of processes or
of loading workers, or after a restart in the middle of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.statistics.stream import Stream
from unisim_metrics.tasks import Task

Balance = Literal["samples", "datasets"]


@dataclass(frozen=True)
class Pool:
    """The triplets that one dataset gives to one task.

    Attributes:
        dataset: Its id.
        task: The task.
        samples: The triplets.
        per_pass: How many of them one pass over the task takes, other ones each time; None for all.
    """

    dataset: str
    task: Task
    samples: Sequence[Sample]
    per_pass: int | None = None

    @property
    def size(self) -> int:
        """How many triplets the dataset counts in a pass over its task."""
        return len(self.samples) if self.per_pass is None else min(self.per_pass, len(self.samples))

    def __post_init__(self) -> None:
        if not self.samples:
            raise ValueError(f"Dataset {self.dataset!r} must have at least one triplet for {self.task!r}.")
        for sample in self.samples:
            if len(sample.alternatives) != 2 or sample.label not in (0, 1):
                raise ValueError(
                    f"A triplet of dataset {self.dataset!r} must have two alternatives and a label 0 or 1, but"
                    f" got {len(sample.alternatives)} alternatives and label {sample.label!r}."
                )


class TripletStream:
    """Batches of triplets, as many of each task, without end.

    A task goes through its triplets in random order, each once before any comes again. Of every two draws, the
    right alternative stands first in one and second in the other, in random order.

    Args:
        pools: The triplets; several pools of a task are joined.
        batch_size: Triplets of each task in a step.
        seed: Of the order and of the positions.
        balance: `"samples"` draws from a task's triplets alike; `"datasets"` from its datasets alike, whatever
            their sizes.

    Raises:
        ValueError: If there is no pool, or an argument is out of its range.
    """

    def __init__(
        self, pools: Sequence[Pool], batch_size: int, seed: int = 0, balance: Balance = "samples"
    ) -> None:
        if not pools:
            raise ValueError("Argument `pools` must hold at least one pool, but it is empty.")
        if batch_size < 1:
            raise ValueError(f"Argument `batch_size` must be at least 1, but got {batch_size}.")
        if balance not in get_args(Balance):
            raise ValueError(f"Argument `balance` must be one of {get_args(Balance)}, but got {balance!r}.")
        self.pools = tuple(pools)
        self.batch_size = batch_size
        self.seed = seed
        self.balance = balance
        self.tasks: tuple[Task, ...] = tuple(dict.fromkeys(pool.task for pool in pools))

    def step(self, index: int, part: int = 0, parts: int = 1) -> dict[Task, list[Sample]]:
        """Return the triplets of a step, or one of several equal parts of them.

        Args:
            index: The step, from 0.
            part: Which part: a process, or a slice of a step whose gradients are accumulated.
            parts: How many there are; they divide the batch size.
        """
        if self.batch_size % parts:
            raise ValueError(
                f"Argument `parts` must divide the batch size {self.batch_size}, but got {parts}: choose another"
                " number of processes or of accumulated batches."
            )
        size = self.batch_size // parts
        first = index * self.batch_size + part * size
        return {
            task: [self.draw(task, number) for number in range(first, first + size)] for task in self.tasks
        }

    def met(self, task: Task, steps: int) -> Iterator[Sample]:
        """Yield the triplets of a task that the first steps see, each at least once."""
        pools = [pool for pool in self.pools if pool.task == task]
        sizes = [pool.size for pool in pools]
        # After so many draws each triplet has come.
        all_met = sum(sizes) if self.balance == "samples" else max(sizes) * len(sizes)
        all_met *= max(-(-len(pool.samples) // pool.size) for pool in pools)
        for number in range(min(steps * self.batch_size, all_met)):
            yield self.draw(task, number)

    def draw(self, task: Task, number: int) -> Sample:
        """Return the triplet of one draw of a task, counted from 0."""
        return self.draw_from(task, number)[1]

    def draw_from(self, task: Task, number: int) -> tuple[str, Sample]:
        """Return the triplet of one draw of a task, and before it the dataset that it is of."""
        pools = [pool for pool in self.pools if pool.task == task]
        name: str = task
        if self.balance == "datasets":
            turn, number = number % len(pools), number // len(pools)
            pools, name = [pools[turn]], f"{task}/{pools[turn].dataset}"
        total = sum(pool.size for pool in pools)
        passes, place = divmod(number, total)
        numbers = ("training", self.seed, name, passes)
        row = int(_order(numbers, total)[place])
        for pool in pools:
            if row < pool.size:
                break
            row -= pool.size
        if pool.size < len(pool.samples):
            turn, row = divmod(passes * pool.size + row, len(pool.samples))
            rows = ("training", self.seed, f"{task}/{pool.dataset}/rows", turn)
            row = int(_order(rows, len(pool.samples))[row])
        return pool.dataset, arranged(pool.samples[row], int(_labels(numbers, total)[place]))


def arranged(sample: Sample, label: int) -> Sample:
    """Return the triplet with its right alternative at the position `label`."""
    if sample.label == label:
        return sample
    return Sample(sample.reference, sample.alternatives[::-1], label)


@lru_cache(maxsize=32)
def _order(numbers: tuple[str | int, ...], count: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = Stream(*numbers).permutation(count, "order")
    return order


@lru_cache(maxsize=32)
def _labels(numbers: tuple[str | int, ...], count: int) -> NDArray[np.int64]:
    words: NDArray[np.uint64] = Stream(*numbers).words((count + 1) // 2, "labels")
    return (np.repeat(words % 2, 2)[:count].astype(np.int64) + np.arange(count)) % 2
