"""The card of a published CLIP model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .card import Model, steps_text, write_card
from .finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_TAGS = ("unisim", "unisim-metrics", "clip", "lora", "perceptual-similarity", "image-quality-assessment")

_TEXT = """\
# {name}

A UniSim model: [{base}](https://huggingface.co/{base}), adapted to how people judge. Given a reference, image or text,
it tells which of several alternatives, images or texts, is closer; of images alone, which is better. It was trained
with unisim-metrics after
[Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics](https://arxiv.org/abs/2412.10594).

{facts}

## How to use it

With torchmetrics, {install}:

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


def clip_card(model: Model, run: FinishedRun, image_size: int) -> ModelCard:
    """Write the card.

    Args:
        model: The model.
        run: The run that made it.
        image_size: Side of the images that it sees.
    """
    lora = run.recipe["lora"]
    trained = " and `visual_projection`" if run.recipe["train_projection"] else ""
    metadata = {
        "base_model": model.base,
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": list(_TAGS),
    }
    facts = [
        ("base", model.link),
        ("trained", f"LoRA of rank {lora['rank']}, alpha {lora['alpha']}, on the image tower{trained}"),
        ("steps", steps_text(run)),
        ("adapter", "at the top of this repository, to put on the base"),
        ("full weights", "in `merged/`, float32, the adapter merged"),
    ]
    base, revision = str(model.base), model.revision_argument
    return write_card(_TEXT, model, run, metadata, facts, base=base, revision=revision, size=str(image_size))
