"""The card of a published model: what it is, how to use it, what it was trained on, and what it was measured to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

{citation}
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

    datasets = list(training_data(run))
    text = _TEXT.format(
        name=model.name,
        repo=model.repo,
        base=model.base,
        revision=f', revision="{model.base_revision}"' if model.base_revision else "",
        facts=_facts(model, run),
        evaluation=evaluation_text(run),
        data=data_table(datasets),
        data_hash=run.environment["data_hash"],
        recipe=table(
            ("setting", "value"), [(f"`{key}`", f"`{value}`") for key, value in flat_settings(run.recipe)]
        ),
        size=model.image_size,
        citation=CITATION,
    )
    hub_ids = sorted({data.hub_id for data in datasets if data.hub_id})
    return ModelCard(f"---\n{_metadata(model, run, hub_ids).to_yaml()}\n---\n\n{text}")


def _metadata(model: Model, run: FinishedRun, hub_ids: list[str]) -> ModelCardData:
    from huggingface_hub import ModelCardData

    settings: dict[str, Any] = {
        "base_model": model.base,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": list(_TAGS),
        **licence(model.repo, model.license),
    }
    if hub_ids:
        settings["datasets"] = hub_ids
    results = evaluation_results(run)
    if results:
        settings |= {"metrics": ["accuracy"], "model_name": model.name, "eval_results": results}
    return ModelCardData(**settings)


def _facts(model: Model, run: FinishedRun) -> str:
    lora = run.recipe["lora"]
    trained = " and `visual_projection`" if run.recipe["train_projection"] else ""
    at = f" at `{model.base_revision}`" if model.base_revision else ""
    rows = [
        ("base", f"[{model.base}](https://huggingface.co/{model.base}){at}"),
        ("trained", f"LoRA of rank {lora['rank']}, alpha {lora['alpha']}, on the image tower{trained}"),
        ("steps", steps_text(run)),
        ("adapter", "at the top of this repository, to put on the base"),
        ("full weights", "in `merged/`, float32, the adapter merged"),
    ]
    return f"{table(('', ''), rows)}\n\nThe signature of its scores: `{model.signature}`"
