"""The inputs of forced choices, one by one and checked, for models that are shown them as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from torch import Tensor

from unisim_metrics.images.inputs import check_values, list_images
from unisim_metrics.models.generative.instructions import Question, ask
from unisim_metrics.models.texts import check_texts
from unisim_metrics.tasks import Modality, Task, modalities, resolve_task

Demonstration: TypeAlias = tuple[Any, Sequence[Any], int]
"""A solved sample: reference, alternatives, index of the right one."""


def list_items(items: Any, modality: Modality, name: str) -> list[Any]:
    """List images or texts one by one.

    Args:
        items: Images or texts; images of every kind, batches among them.
        modality: Which of the two.
        name: How the caller names them, for error texts.

    Raises:
        ValueError: If there are none, or an image has no valid shape or pixels.
        TypeError: If one is of another type.
    """
    if modality == "text":
        return check_texts(items)
    images = list_images(items, name)
    check_values([image for image in images if isinstance(image, Tensor)], name)
    return list(images)


def solve(task: Task, demonstration: Demonstration, index: int) -> tuple[Question, int]:
    """Return a solved sample as a question and the index of its answer.

    Args:
        task: What it is a sample of.
        demonstration: The sample.
        index: Its place among the demonstrations, for error texts.

    Raises:
        ValueError: If it is no sample of the task, or its label out of range.
        TypeError: If something in it is neither image nor text.
    """
    name = f"demonstrations[{index}]"
    if not isinstance(demonstration, Sequence) or len(demonstration) != 3:
        raise ValueError(
            f"Argument `{name}` must be (reference, alternatives, label), but got {demonstration!r}."
        )
    reference, alternatives, label = demonstration
    resolve_task(task, alternatives, reference, names=(f"{name}.alternatives", f"{name}.reference"))
    first, second = modalities(task)
    choices = list_items(alternatives, first, f"{name}.alternatives")
    if not isinstance(label, int) or not 0 <= label < len(choices):
        raise ValueError(
            f"Argument `{name}` must have a label from 0 to {len(choices) - 1}, but got {label!r}."
        )
    target = None if second is None else list_items(reference, second, f"{name}.reference")[0]
    return ask(task, target, choices), label
