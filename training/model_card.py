"""The card of a published model: what it is, how to use it, what it was trained on, and what it was measured to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unisim_metrics.benchmark import list_datasets, load_dataset
from unisim_metrics.training.finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData

_TAGS = ("unisim", "unisim-metrics", "clip", "lora", "perceptual-similarity", "image-quality-assessment")

_TEXT = """\
# {name}

A UniSim model: [{base}](https://huggingface.co/{base}), adapted to how people judge. Given a reference, image or text,
it tells which of several alternatives, images or texts, is closer; of images alone, which is better. It was trained
with [unisim-metrics](https://pypi.org/project/unisim-metrics/) after
[Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics](https://arxiv.org/abs/2412.10594).

{facts}

## How to use it

With torchmetrics, `pip install unisim-metrics`:

```python
from unisim_metrics import UniSimScore

metric = UniSimScore("{repo}")
metric(images, prompts)    # also (images, originals), (captions, images), or images alone for their quality
```

With transformers, the full weights:

```python
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained("{repo}", subfolder="merged")
processor = CLIPProcessor.from_pretrained("{repo}")
```

With peft, the adapter on its base (`CLIPModel.from_pretrained("{repo}")` does the same):

```python
from peft import PeftModel
from transformers import CLIPModel

base = CLIPModel.from_pretrained("{base}"{revision})
model = PeftModel.from_pretrained(base, "{repo}")
```

A score is the cosine similarity of the two embeddings; in transformers that of `get_image_features` and
`get_text_features`.

## Evaluation

{evaluation}

## Training data

{data}

A triplet is a reference and two alternatives, one of which people, or a known degradation, made the closer or the
better. SHA-256 of all of them, by the names of their images: `{data_hash}`.

## Recipe

The hinge of Eq. 1 and 2 of the paper, with the settings below. `recipe.json` holds them, `environment.json` the
command and the versions of what ran it.

{recipe}

## Limits

- Scores put alternatives in order. They are no absolute measure, and compare only under equal signatures.
- The image tower alone was adapted: texts are understood as the base understands them.
- Images are seen at {size} × {size} pixels: what does not survive that is not judged.
- It learnt the judgments of the sets above, with the taste and the gaps of those who made them; other tasks and other
  kinds of images were not trained on.
- The terms of the base and of the sets bind whoever uses what was trained on them.

## Citation

```bibtex
@article{{ghazanfari2024unisim,
  title   = {{Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics}},
  author  = {{Ghazanfari, Sara and Garg, Siddharth and Flammarion, Nicolas and Krishnamurthy, Prashanth and
             Khorrami, Farshad and Croce, Francesco}},
  journal = {{arXiv preprint arXiv:2412.10594}},
  year    = {{2024}}
}}
```
"""


@dataclass(frozen=True)
class Model:
    """What the card says of the model beside its run.

    Attributes:
        repo: `ORG/NAME`.
        base: The base's Hub id.
        base_revision: The base's commit; None if not known.
        license: Its identifier on the Hub; None for research only.
        signature: The signature of its scores.
        image_size: Side of the images that it sees.
    """

    repo: str
    base: str
    base_revision: str | None
    license: str | None
    signature: str
    image_size: int

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repo.split("/")[1]


def model_card(model: Model, run: FinishedRun) -> ModelCard:
    """Write the card.

    Args:
        model: The model.
        run: The run that made it. A figure that is not in it is not in the card.
    """
    from huggingface_hub import ModelCard

    datasets = list(_datasets(run))
    text = _TEXT.format(
        name=model.name,
        repo=model.repo,
        base=model.base,
        revision=f', revision="{model.base_revision}"' if model.base_revision else "",
        facts=_facts(model, run),
        evaluation=_evaluation(run),
        data=_table(
            ("set", "task", "triplets", "held out", "terms"),
            [
                (
                    f"[{data.id}]({data.url})" if data.url else data.id,
                    data.task,
                    data.triplets,
                    data.held_out,
                    data.terms,
                )
                for data in datasets
            ],
        ),
        data_hash=run.environment["data_hash"],
        recipe=_table(("setting", "value"), [(f"`{key}`", f"`{value}`") for key, value in _flat(run.recipe)]),
        size=model.image_size,
    )
    hub_ids = sorted({data.hub_id for data in datasets if data.hub_id})
    return ModelCard(f"---\n{_metadata(model, run, hub_ids).to_yaml()}\n---\n\n{text}")


def _metadata(model: Model, run: FinishedRun, hub_ids: list[str]) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    evaluation = run.own_evaluation
    settings: dict[str, Any] = {
        "base_model": model.base,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "zero-shot-image-classification",
        "license": model.license or "other",
        "tags": list(_TAGS),
    }
    if model.license is None:
        settings["license_name"] = "research-only"
        settings["license_link"] = f"https://huggingface.co/{model.repo}#training-data"
    if hub_ids:
        settings["datasets"] = hub_ids
    if evaluation is not None:
        settings["metrics"] = ["accuracy"]
        settings["model_name"] = model.name
        settings["eval_results"] = [
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
    return ModelCardData(**settings)


def _facts(model: Model, run: FinishedRun) -> str:
    lora = run.recipe["lora"]
    trained = " and `visual_projection`" if run.recipe["train_projection"] else ""
    steps = (
        f"{run.planned_steps:,} planned" if run.steps is None else f"{run.steps:,} of {run.planned_steps:,}"
    )
    at = f" at `{model.base_revision}`" if model.base_revision else ""
    rows = [
        ("base", f"[{model.base}](https://huggingface.co/{model.base}){at}"),
        ("trained", f"LoRA of rank {lora['rank']}, alpha {lora['alpha']}, on the image tower{trained}"),
        ("steps", steps),
        ("adapter", "at the top of this repository, to put on the base"),
        ("full weights", "in `merged/`, float32, the adapter merged"),
    ]
    return f"{_table(('', ''), rows)}\n\nThe signature of its scores: `{model.signature}`"


def _evaluation(run: FinishedRun) -> str:
    evaluation = run.own_evaluation
    if evaluation is None and run.evaluation is None:
        return "It was not evaluated."
    if evaluation is None:
        return (
            f"It was not evaluated: the last validation of the run came after step {run.evaluation.step:,}, before"
            " these weights."
        )
    table = _table(
        ("set", "task", "accuracy", "95 % interval", "triplets"),
        [
            (
                result.dataset,
                result.task,
                f"{result.accuracy:.3f}",
                f"{result.interval[0]:.3f} – {result.interval[1]:.3f}",
                result.n,
            )
            for result in evaluation.results
        ],
    )
    return (
        "Accuracy on triplets held out of the training sets (chance: 0.5), measured by the run itself after step"
        f" {evaluation.step:,}:\n\n{table}\n\nSHA-256 of these triplets: `{evaluation.samples_hash}`."
    )


@dataclass(frozen=True)
class _TrainingData:
    id: str
    task: str
    triplets: int
    held_out: int
    terms: str = "its owner's"
    url: str | None = None
    hub_id: str | None = None


def _datasets(run: FinishedRun) -> Iterator[_TrainingData]:
    """What the run read, with what the benchmark knows of its own sets."""
    known = set(run.recipe["data"]["datasets"]) & set(list_datasets())
    for row in run.environment["data"]:
        read = (row["dataset"], row["task"], row["triplets"], row["held_out"])
        if row["dataset"] in known:
            dataset = load_dataset(row["dataset"], ".")
            yield _TrainingData(*read, dataset.licence, dataset.url, dataset.hub_id)
        else:
            yield _TrainingData(*read)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as the command line names them: `optimization.learning_rate`."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """A table in Markdown; numbers stand at the right, with commas."""
    right = [any(isinstance(row[column], int) for row in rows) for column in range(len(head))]
    lines = [head, ["---:" if is_number else "---" for is_number in right]]
    lines += [
        [f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|") for cell in row] for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
