"""What a model can be asked of the benchmark: the way in which it answers a set, and why it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unisim_metrics.models.answering import Way, answers_of, view_of

from ..tasks import TASKS

if TYPE_CHECKING:
    from unisim_metrics.tasks import Task

    from ..datasets.base import Kind


def way_of(model: Any, kind: Kind) -> Way | None:
    """Return how a model answers the sets that ask `kind`; None if it does not.

    A gallery is searched in the space in which the model compares images with images, if there is one.
    """
    if kind == "retrieval":
        return "embeddings" if answers_of(model).get("image-image") == "embeddings" else None
    return answers_of(model).get(kind)


def view_of_sets(model: Any, kind: Kind) -> str:
    """Return the space in which a model embeds the images of the sets that ask `kind`."""
    task: Task = "image-image" if kind == "retrieval" else kind
    return view_of(model, task)


def why_not(model: Any, kind: Kind) -> str | None:
    """Return why a model cannot answer the sets that ask `kind`; None if it can."""
    if way_of(model, kind) is not None:
        return None
    if kind == "retrieval":
        return f"{model.name!r} compares and does not embed, so that it cannot search a gallery"
    return f"{model.name!r} answers {', '.join(answers_of(model))} alone"


def unanswered(model: Any) -> dict[str, str]:
    """Return all that sets ask and a model cannot answer, with the reason."""
    reasons = {kind: why_not(model, kind) for task in TASKS for kind in task.kinds}
    return {kind: reason for kind, reason in reasons.items() if reason is not None}
