"""Validation on triplets that a run has held out: the benchmark's tasks, judged by the model as it will be used."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.errors import ImageReadError
from unisim_metrics.functional import choose
from unisim_metrics.models import PerceptualModel
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.statistics.intervals import Estimate, estimate_mean, estimate_share
from unisim_metrics.tasks import Task
from unisim_metrics.text_files import write_text

from .errors import TrainingError
from .stream import Pool

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetAccuracy:
    """Which share of the `n` held-out triplets of a dataset the model got right.

    Its 95 % interval takes triplets for independent.
    """

    dataset: str
    task: Task
    accuracy: Estimate
    n: int


@dataclass(frozen=True)
class ValidationReport:
    """A validation.

    Attributes:
        step: Steps done before it.
        results: The datasets, in the recipe's order.
        samples_hash: SHA-256 of all held-out triplets.
    """

    step: int
    results: tuple[DatasetAccuracy, ...]
    samples_hash: str

    def tasks(self) -> dict[Task, Estimate]:
        """The mean of each task over its datasets."""
        by_task: dict[Task, list[Estimate]] = {}
        for result in self.results:
            by_task.setdefault(result.task, []).append(result.accuracy)
        return {task: estimate_mean(estimates) for task, estimates in by_task.items()}

    def mean(self) -> Estimate:
        """The mean over the tasks."""
        return estimate_mean(list(self.tasks().values()))

    def flat(self) -> dict[str, float]:
        """Names and numbers for a tracker."""
        values = {f"validation/{result.dataset}": result.accuracy.value for result in self.results}
        values |= {f"validation/{task}": estimate.value for task, estimate in self.tasks().items()}
        return values | {"validation/mean": self.mean().value}

    def to_dict(self) -> dict[str, Any]:
        """Return the line of `validation.jsonl`."""
        results = [
            {
                "dataset": result.dataset,
                "task": result.task,
                "accuracy": result.accuracy.value,
                "interval": [result.accuracy.low, result.accuracy.high],
                "n": result.n,
            }
            for result in self.results
        ]
        return {"step": self.step, "results": results, "samples_hash": self.samples_hash}

    @classmethod
    def from_dict(cls, line: Any) -> ValidationReport:
        """Return the validation of a line that `to_dict` gave.

        Raises:
            ValueError, KeyError or TypeError: If it is none.
        """
        results = tuple(
            DatasetAccuracy(
                str(result["dataset"]),
                result["task"],
                Estimate(float(result["accuracy"]), *map(float, result["interval"])),
                int(result["n"]),
            )
            for result in line["results"]
        )
        return cls(int(line["step"]), results, str(line["samples_hash"]))


class Validator:
    """Asks a model about held-out triplets, and keeps the answers in a file, one line a validation.

    The training sees nothing of it: the model runs in evaluation mode, and no random number is drawn.

    Args:
        pools: The held-out triplets of each dataset.
        samples_hash: Their SHA-256.
        model: The model, over the very weights that are trained.
        accelerator: Which processes share the work.
        file: Where the lines go.
        every: Steps between validations.
        batch_size: Triplets that are compared at a time.
        prompts: The texts of quality and attributes.

    Attributes:
        last: The last validation that this process made.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        samples_hash: str,
        model: PerceptualModel,
        accelerator: Accelerator,
        file: Path,
        every: int,
        batch_size: int = 32,
        prompts: PromptsLike = None,
    ) -> None:
        self.pools = tuple(pools)
        self.samples_hash = samples_hash
        self.model = model
        self.accelerator = accelerator
        self.file = file
        self.every = every
        self.batch_size = batch_size
        self.prompts = prompts
        self.last: ValidationReport | None = None
        self._lines: dict[int, str] = {}

    def rewind(self, step: int) -> None:
        """Go on from a step: validations up to it stand, those after it are made again."""
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []
        by_step = {json.loads(line)["step"]: line for line in lines}
        self._lines = {done: line for done, line in by_step.items() if done <= step}

    def is_due(self, step: int, stop: int) -> bool:
        """Whether a validation belongs after `step` of the steps up to `stop`, and has not been made."""
        return (step % self.every == 0 or step == stop) and step not in self._lines

    def validate(self, step: int) -> ValidationReport:
        """Compare, count, and write the line down.

        Raises:
            TrainingError: If no triplet of a dataset can be read, or the line cannot be written.
        """
        counts = torch.tensor([self._count(pool) for pool in self.pools], device=self.accelerator.device)
        counts = self.accelerator.reduce(counts, "sum")
        results = []
        for pool, (right, n) in zip(self.pools, counts.tolist(), strict=True):
            if not n:
                raise TrainingError(
                    f"No held-out triplet of dataset {pool.dataset!r} can be used: none of its images can be read,"
                    f" {pool.samples[0]} among them."
                )
            results.append(DatasetAccuracy(pool.dataset, pool.task, estimate_share(right, n), n))
        report = ValidationReport(step, tuple(results), self.samples_hash)
        self._lines[step] = json.dumps(report.to_dict())
        if self.accelerator.is_main_process:
            self._write()
        self.last = report
        return report

    def _count(self, pool: Pool) -> list[int]:
        """Of this process's share of a pool, how many are right, and how many there are."""
        samples = pool.samples[self.accelerator.process_index :: self.accelerator.num_processes]
        right = n = 0
        for start in range(0, len(samples), self.batch_size):
            for correct in self._judge(samples[start : start + self.batch_size], pool.task):
                right += correct
                n += 1
        return [right, n]

    def _judge(self, samples: Sequence[Sample], task: Task) -> list[bool]:
        """Whether each choice is right; triplets with an image that cannot be read are left out."""
        references = None if samples[0].reference is None else [sample.reference for sample in samples]
        try:
            alternatives = [list(sample.alternatives) for sample in samples]
            scores = self.model.compare(references, alternatives, task=task, prompts=self.prompts)
        except ImageReadError as error:
            if len(samples) == 1:
                log.warning("left out of the validation: %s", error)
                return []
            half = len(samples) // 2
            return self._judge(samples[:half], task) + self._judge(samples[half:], task)
        labels = torch.tensor([sample.label for sample in samples], device=scores.device)
        return (choose(scores) == labels).tolist()

    def _write(self) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, "".join(f"{line}\n" for line in self._lines.values()))
        except OSError as error:
            raise TrainingError(
                f"The validation cannot be written to {self.file}: {error}. Earlier checkpoints stand;"
                " make room and resume."
            ) from error
