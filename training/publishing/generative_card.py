"""The card of a published generative model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..generative.templates import TEMPLATES
from .card_parts import (
    CITATION,
    data_table,
    evaluation_results,
    evaluation_text,
    flat_settings,
    licence,
    steps_text,
    table,
    training_data,
)
from .finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import ModelCard, ModelCardData

_TAGS = ("unisim", "unisim-metrics", "perceptual-similarity", "image-quality-assessment", "multi-image")

_TEXT = """\
# {name}

A generative UniSim model{from_base}. Given a reference, image or text, and several alternatives, images or texts, it
says which is closer; of images alone, which is better. It was trained with
[unisim-metrics](https://pypi.org/project/unisim-metrics/) after
[Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics](https://arxiv.org/abs/2412.10594).

{facts}

## How to use it

With torchmetrics, `pip install unisim-metrics`:

```python
from unisim_metrics import UniSimRanking

ranking = UniSimRanking("{repo}")
ranking.update(candidates, prompts)  # groups of images and a text each; or other kinds of either
ranking.compute()
```

With transformers:

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("{repo}")
processor = AutoProcessor.from_pretrained("{repo}")
```
{adapter}
It is asked a multiple-choice question with all alternatives in it (paper, Table 7), and answers by a letter. A score is
the log-probability of an alternative's letter; it has none for an image alone.

## Evaluation

{evaluation}

## Training data

{data}

A triplet is a reference and two alternatives, one of which people, or a known degradation, made the closer or the
better. SHA-256 of all of them, by the names of their images: `{data_hash}`.

Each is put into words by chance: {wordings}. The alternatives stand in either order, and so do the options; the
reference image stands in any place. Multiple-choice questions are answered by the letter alone, others by a sentence;
the loss is on the answers only. SHA-256 of all wordings: `{templates_hash}`.

{mixture}

## Recipe

One epoch, AdamW, with the settings below. `recipe.json` holds them, `environment.json` the command and the versions of
what ran it.

{recipe}

## Limits

- Scores put the alternatives of one question in order. They are no absolute measure, and compare only under equal
  signatures.
- It may prefer a letter, or the image shown first: ask in every order and average where that matters.
- It learnt the judgments of the sets above, with the taste and the gaps of those who made them; other tasks and other
  kinds of images were not trained on.
- The terms of the base and of the sets bind whoever uses what was trained on them.

## Citation

{citation}
"""

_ADAPTER = """
With peft, the adapter on its base:

```python
from peft import PeftModel
from transformers import AutoModelForImageTextToText

base = AutoModelForImageTextToText.from_pretrained("{base}"{revision})
model = PeftModel.from_pretrained(base, "{repo}", subfolder="adapter")
```
"""


@dataclass(frozen=True)
class GenerativeCard:
    """What the card says of the model beside its run.

    Attributes:
        repo: `ORG/NAME`.
        base: The base's Hub id; None if it has none.
        base_revision: The base's commit; None if not known.
        license: Its identifier on the Hub; None for research only.
        signature: The signature of its scores.
        architecture: What transformers calls the kind of model.
    """

    repo: str
    base: str | None
    base_revision: str | None
    license: str | None
    signature: str
    architecture: str


def generative_card(model: GenerativeCard, run: FinishedRun) -> ModelCard:
    """Write the card. A figure that is not in the run is not in it."""
    from huggingface_hub import ModelCard

    datasets = list(training_data(run))
    revision = f', revision="{model.base_revision}"' if model.base_revision else ""
    adapter = _ADAPTER.format(base=model.base, revision=revision, repo=model.repo) if run.has_adapter else ""
    link = f"[{model.base}](https://huggingface.co/{model.base})"
    text = _TEXT.format(
        name=model.repo.split("/")[1],
        repo=model.repo,
        from_base=f", fine-tuned from {link}" if model.base else "",
        facts=_facts(model, run),
        adapter=adapter,
        evaluation=evaluation_text(run, with_base=True),
        data=data_table(datasets),
        data_hash=run.environment["data_hash"],
        wordings=_wordings(),
        templates_hash=run.environment["templates_hash"],
        mixture=_mixture(run),
        recipe=table(
            ("setting", "value"), [(f"`{key}`", f"`{value}`") for key, value in flat_settings(run.recipe)]
        ),
        citation=CITATION,
    )
    hub_ids = sorted({data.hub_id for data in datasets if data.hub_id})
    return ModelCard(f"---\n{_metadata(model, run, hub_ids).to_yaml()}\n---\n\n{text}")


def _metadata(model: GenerativeCard, run: FinishedRun, hub_ids: list[str]) -> ModelCardData:
    from huggingface_hub import ModelCardData

    settings: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": [*_TAGS, model.architecture],
        **licence(model.repo, model.license),
    }
    if model.base is not None:
        settings |= {"base_model": model.base, "base_model_relation": "finetune"}
    if hub_ids:
        settings["datasets"] = hub_ids
    results = evaluation_results(run)
    if results:
        name = model.repo.split("/")[1]
        settings |= {"metrics": ["accuracy"], "model_name": name, "eval_results": results}
    return ModelCardData(**settings)


def _facts(model: GenerativeCard, run: FinishedRun) -> str:
    at = f" at `{model.base_revision}`" if model.base_revision else ""
    base = (
        f"[{model.base}](https://huggingface.co/{model.base}){at}" if model.base else "a model of one's own"
    )
    rates, lora = run.recipe["learning_rates"], run.recipe["lora"]
    parts = [part.replace("_", " ") for part, rate in rates.items() if rate]
    trained = (
        f"LoRA of rank {lora['rank']}, alpha {lora['alpha']}"
        + (f", and {', '.join(f'`{name}`' for name in lora['whole'])}" if lora["whole"] else "")
        if run.has_adapter
        else "all weights of " + ", ".join(parts)
    )
    rows = [
        ("architecture", f"`{model.architecture}`"),
        ("base", base),
        ("trained", trained),
        ("steps", steps_text(run)),
        ("weights", "at the top of this repository, the adapter merged" if run.has_adapter else "all"),
    ]
    return f"{table(('', ''), rows)}\n\nThe signature of its scores: `{model.signature}`"


def _wordings() -> str:
    questions = sum(len(templates.questions) for templates in TEMPLATES.values())
    answers = sum(len(templates.answers) for templates in TEMPLATES.values())
    return (
        f"there are {questions} questions and {answers} sentences to answer by, over {len(TEMPLATES)} tasks"
    )


def _mixture(run: FinishedRun) -> str:
    dialogues: str = table(("dialogues of", "number"), list(run.environment["dialogues"].items()))
    files = [(row["dataset"], row["records"]) for row in run.environment["instructions"]]
    if not files:
        return dialogues
    return (
        f"{dialogues}\n\nThe instructions are of other sets, mixed in:\n\n"
        f"{table(('file', 'usable records'), files)}\n\nSHA-256 of the files: `{run.environment['instructions_hash']}`."
    )
