"""What the cards of all published models are made of: data, recipe, figures, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unisim_metrics.benchmark import list_datasets, load_dataset

from .finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

CITATION = """\
```bibtex
@article{ghazanfari2024unisim,
  title   = {Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics},
  author  = {Ghazanfari, Sara and Garg, Siddharth and Flammarion, Nicolas and Krishnamurthy, Prashanth and
             Khorrami, Farshad and Croce, Francesco},
  journal = {arXiv preprint arXiv:2412.10594},
  year    = {2024}
}
```"""


def evaluation_text(run: FinishedRun, *, with_base: bool = False) -> str:
    """The figures on held-out triplets.

    Args:
        run: The run.
        with_base: Whether to show beside them those before the first step, where the run has them.
    """
    evaluation = run.own_evaluation
    if run.evaluation is None:
        return "It was not evaluated."
    if evaluation is None:
        return (
            f"It was not evaluated: the last validation of the run came after step {run.evaluation.step:,}, before"
            " these weights."
        )
    first = run.first_evaluation
    before: dict[str, str] = {}
    if with_base and first is not None and first.samples_hash == evaluation.samples_hash and evaluation.step:
        before = {result.dataset: f"{result.accuracy:.3f}" for result in first.results}
    columns = ("set", "task", *(["before"] if before else []), "accuracy", "95 % interval", "triplets")
    rows: list[tuple[str | int, ...]] = [
        (
            result.dataset,
            result.task,
            *([before.get(result.dataset, "")] if before else []),
            f"{result.accuracy:.3f}",
            f"{result.interval[0]:.3f} – {result.interval[1]:.3f}",
            result.n,
        )
        for result in evaluation.results
    ]
    return (
        "Accuracy on triplets held out of the training sets (chance: 0.5), measured by the run itself after step"
        f" {evaluation.step:,}:\n\n{table(columns, rows)}\n\nSHA-256 of these triplets: `{evaluation.samples_hash}`."
    )


@dataclass(frozen=True)
class TrainingData:
    """What a run read of one dataset, with what the benchmark knows of it."""

    id: str
    task: str
    triplets: int
    held_out: int
    terms: str = "its owner's"
    url: str | None = None
    hub_id: str | None = None


def training_data(run: FinishedRun) -> Iterator[TrainingData]:
    """What the run read, with what the benchmark knows of its own sets."""
    known = set(run.recipe["data"]["datasets"]) & set(list_datasets())
    for row in run.environment["data"]:
        read = (row["dataset"], row["task"], row["triplets"], row["held_out"])
        if row["dataset"] in known:
            dataset = load_dataset(row["dataset"], ".")
            yield TrainingData(*read, dataset.licence, dataset.url, dataset.hub_id)
        else:
            yield TrainingData(*read)


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as the command line names them: `optimization.learning_rate`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """A table in Markdown; numbers stand at the right, with commas."""
    right = [any(isinstance(row[column], int) for row in rows) for column in range(len(head))]
    lines = [head, ["---:" if is_number else "---" for is_number in right]]
    lines += [
        [f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|") for cell in row] for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def data_table(datasets: Sequence[TrainingData]) -> str:
    """The datasets as a table, with their terms."""
    rows = [
        (
            f"[{data.id}]({data.url})" if data.url else data.id,
            data.task,
            data.triplets,
            data.held_out,
            data.terms,
        )
        for data in datasets
    ]
    return table(("set", "task", "triplets", "held out", "terms"), rows)


def evaluation_results(run: FinishedRun) -> list[EvalResult]:
    """The figures on held-out triplets as the Hub reads them."""
    from huggingface_hub import EvalResult

    evaluation = run.own_evaluation
    if evaluation is None:
        return []
    return [
        EvalResult(
            task_type=result.task,
            dataset_type=result.dataset,
            dataset_name=result.dataset,
            dataset_split="held out of train",
            dataset_args={"samples_hash": evaluation.samples_hash},
            metric_type="accuracy",
            metric_name="2AFC accuracy",
            metric_value=result.accuracy,
            metric_args={"interval_95": list(result.interval), "n": result.n},
        )
        for result in evaluation.results
    ]


def licence(repo: str, identifier: str | None) -> dict[str, str]:
    """The licence in a card's metadata; research only if none is named."""
    if identifier is not None:
        return {"license": identifier}
    return {
        "license": "other",
        "license_name": "research-only",
        "license_link": f"https://huggingface.co/{repo}#training-data",
    }


def steps_text(run: FinishedRun) -> str:
    """How many of its steps a run has done."""
    return (
        f"{run.planned_steps:,} planned" if run.steps is None else f"{run.steps:,} of {run.planned_steps:,}"
    )
