"""The card of a published model, as those of all kinds are: data, recipe, figures as Markdown, and metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unisim_metrics.benchmark import list_datasets, load_dataset
from unisim_metrics.installation import NAME, git_source

from .finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

_CITATION = """\
```bibtex
@article{ghazanfari2024unisim,
  title   = {Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics},
  author  = {Ghazanfari, Sara and Garg, Siddharth and Flammarion, Nicolas and Krishnamurthy, Prashanth and
             Khorrami, Farshad and Croce, Francesco},
  journal = {arXiv preprint arXiv:2412.10594},
  year    = {2024}
}
```"""


@dataclass(frozen=True)
class Model:
    """What a card says of a model beside its run.

    Attributes:
        repo: `ORG/NAME`.
        base: The base's Hub id; None if it has none.
        base_revision: The base's commit; None if not known.
        license: Its identifier on the Hub; None for research only.
        signature: The signature of its scores.
    """

    repo: str
    base: str | None
    base_revision: str | None
    license: str | None
    signature: str

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repo.split("/")[1]

    @property
    def link(self) -> str:
        """The base and its commit, in words, with a link to it."""
        if self.base is None:
            return "a model of one's own"
        at = f" at `{self.base_revision}`" if self.base_revision else ""
        return f"[{self.base}](https://huggingface.co/{self.base}){at}"

    @property
    def revision_argument(self) -> str:
        """What `from_pretrained` takes after the base's id."""
        return f', revision="{self.base_revision}"' if self.base_revision else ""


def write_card(
    template: str,
    model: Model,
    run: FinishedRun,
    metadata: Mapping[str, Any],
    facts: Sequence[tuple[str, str]],
    **parts: str,
) -> ModelCard:
    """Write a card. A figure that is not in the run is not in it.

    Args:
        template: Its text, with a name in braces for each part.
        model: The model.
        run: The run that made it.
        metadata: What the Hub is to know of models of the kind.
        facts: The rows of its first table.
        parts: What only models of the kind have to say.
    """
    from huggingface_hub import ModelCard, ModelCardData

    datasets = list(_training_data(run))
    settings = [(f"`{key}`", f"`{value}`") for key, value in _flat_settings(run.recipe)]
    every: dict[str, str] = {
        "name": model.name,
        "repo": model.repo,
        "install": _install_text(),
        "facts": f"{table(('', ''), facts)}\n\nThe signature of its scores: `{model.signature}`",
        "evaluation": _evaluation_text(run),
        "data": _data_table(datasets),
        "data_hash": run.environment["data_hash"],
        "recipe": table(("setting", "value"), settings),
        "citation": _CITATION,
    }
    known: dict[str, Any] = {**metadata, **_licence(model.repo, model.license)}
    hub_ids = sorted({data.hub_id for data in datasets if data.hub_id})
    if hub_ids:
        known["datasets"] = hub_ids
    results = _evaluation_results(run)
    if results:
        known |= {"metrics": ["accuracy"], "model_name": model.name, "eval_results": results}
    return ModelCard(f"---\n{ModelCardData(**known).to_yaml()}\n---\n\n{template.format(**every | parts)}")


def _install_text() -> str:
    """How a reader gets this package: from where this installation came, if that is Git."""
    source = git_source()
    return (
        f"in a clone of {NAME}, `pip install .`" if source is None else f"`pip install '{NAME} @ {source}'`"
    )


def _evaluation_text(run: FinishedRun) -> str:
    """The figures on held-out triplets; for generative models beside those before the first step, if there are any."""
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
    if (
        run.generative
        and first is not None
        and first.samples_hash == evaluation.samples_hash
        and evaluation.step
    ):
        before = {result.dataset: f"{result.accuracy.value:.3f}" for result in first.results}
    columns = ("set", "task", *(["before"] if before else []), "accuracy", "95 % interval", "triplets")
    rows: list[tuple[str | int, ...]] = [
        (
            result.dataset,
            result.task,
            *([before.get(result.dataset, "")] if before else []),
            f"{result.accuracy.value:.3f}",
            f"{result.accuracy.low:.3f} – {result.accuracy.high:.3f}",
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


def _training_data(run: FinishedRun) -> Iterator[TrainingData]:
    """What the run read, with what the benchmark knows of its own sets."""
    known = set(run.recipe["data"]["datasets"]) & set(list_datasets())
    for row in run.environment["data"]:
        read = (row["dataset"], row["task"], row["triplets"], row["held_out"])
        if row["dataset"] in known:
            dataset = load_dataset(row["dataset"], ".")
            yield TrainingData(*read, dataset.licence, dataset.url, dataset.hub_id)
        else:
            yield TrainingData(*read)


def _flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as the command line names them: `optimization.learning_rate`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat_settings(value, f"{prefix}{key}.")
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


def _data_table(datasets: Sequence[TrainingData]) -> str:
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


def _evaluation_results(run: FinishedRun) -> list[EvalResult]:
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
            metric_value=result.accuracy.value,
            metric_args={"interval_95": [result.accuracy.low, result.accuracy.high], "n": result.n},
        )
        for result in evaluation.results
    ]


def _licence(repo: str, identifier: str | None) -> dict[str, str]:
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
