"""One line that says what made a score, after sacreBLEU's.

    unisim|model:unisim-vit-b-32@3f2a9c01b7de|task:quality/naive|input:224-bicubic-ftfy|v:0.2.0

Equal signatures mean equal weights, task, prompts, preprocessing and library version.
"""

from __future__ import annotations

from collections.abc import Sequence

from unisim_metrics.models.answering import ANY_WAY, Way, input_tag_of
from unisim_metrics.models.protocol import PerceptualModel
from unisim_metrics.prompts import PromptsLike, prompts_tag
from unisim_metrics.tasks import Method, Task
from unisim_metrics.version import __version__

HASH_LENGTH = 12


def signature(
    model: PerceptualModel,
    task: Task | None,
    method: Method = "naive",
    prompts: PromptsLike = None,
    ways: Sequence[Way] = ANY_WAY,
) -> str:
    """Return the signature of scores of `model`.

    Args:
        model: The model that scores.
        task: The task, or None while it is still to be inferred.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        ways: The ways of answering that will do for who asks; the first of the model's among them made the scores.
    """
    made_of = "inferred" if task is None else task + prompts_tag(task, method, prompts)
    weights = model.weights_hash()[:HASH_LENGTH]
    inputs = input_tag_of(model, task, ways)
    return f"unisim|model:{model.name}@{weights}|task:{made_of}|input:{inputs}|v:{__version__}"
