"""The card of a published generative model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..generative.templates import TEMPLATES
from .card import Model, steps_text, table, write_card
from .finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_TAGS = ("unisim", "unisim-metrics", "perceptual-similarity", "image-quality-assessment", "multi-image")

_TEXT = """\
# {name}

A generative UniSim model{from_base}. Given a reference, image or text, and several alternatives, images or texts, it
says which is closer; of images alone, which is better. It was trained with
unisim-metrics after
[Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics](https://arxiv.org/abs/2412.10594).

{facts}

## How to use it

With torchmetrics, {install}:

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


def generative_card(model: Model, run: FinishedRun, architecture: str) -> ModelCard:
    """Write the card.

    Args:
        model: The model.
        run: The run that made it.
        architecture: What transformers calls the kind of model.
    """
    metadata: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": [*_TAGS, architecture],
    }
    if model.base is not None:
        metadata |= {"base_model": model.base, "base_model_relation": "finetune"}
    facts = [
        ("architecture", f"`{architecture}`"),
        ("base", model.link),
        ("trained", _trained(run)),
        ("steps", steps_text(run)),
        ("weights", "at the top of this repository, the adapter merged" if run.has_adapter else "all"),
    ]
    adapter = _ADAPTER.format(base=model.base, revision=model.revision_argument, repo=model.repo)
    return write_card(
        _TEXT,
        model,
        run,
        metadata,
        facts,
        from_base=f", fine-tuned from [{model.base}](https://huggingface.co/{model.base})"
        if model.base
        else "",
        adapter=adapter if run.has_adapter else "",
        wordings=_wordings(),
        templates_hash=run.environment["templates_hash"],
        mixture=_mixture(run),
    )


def _trained(run: FinishedRun) -> str:
    rates, lora = run.recipe["learning_rates"], run.recipe["lora"]
    if not run.has_adapter:
        return "all weights of " + ", ".join(part.replace("_", " ") for part, rate in rates.items() if rate)
    whole = f", and {', '.join(f'`{name}`' for name in lora['whole'])}" if lora["whole"] else ""
    return f"LoRA of rank {lora['rank']}, alpha {lora['alpha']}{whole}"


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
