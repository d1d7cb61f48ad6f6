"""The perceptual tasks, the ways in which they are scored, and which task a pair of inputs means (paper, Section 3.1).

Their names need no torch: a command that completes them, or a reader of annotations, answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

Task = Literal[
    "image-image",
    "image-text",
    "caption",
    "quality",
    "brightness",
    "colorfulness",
    "contrast",
    "sharpness",
    "odd-one-out",
]
Attribute = Literal["quality", "brightness", "colorfulness", "contrast", "sharpness"]
Method = Literal["naive", "clip-iqa"]
Modality = Literal["image", "text"]

TASKS: tuple[Task, ...] = get_args(Task)
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
METHODS: tuple[Method, ...] = get_args(Method)

# What the benchmark calls the tasks that it has one of; every face takes both names.
BENCHMARK_NAMES: dict[str, Task] = {
    "img-2afc": "image-image",
    "it-2afc": "image-text",
    "text-2afc": "caption",
    "iqa": "quality",
    "ooo": "odd-one-out",
}

# The modalities of (predictions or alternatives, target or reference); None where there is no reference.
_MODALITIES: dict[Task, tuple[Modality, Modality | None]] = {
    "image-image": ("image", "image"),
    "image-text": ("image", "text"),
    "caption": ("text", "image"),
    "odd-one-out": ("image", None),
    **{attribute: ("image", None) for attribute in ATTRIBUTES},
}


def check_task(task: str | None) -> Task | None:
    """Return `task`, or what the benchmark's name of it means, if it is one (or None).

    Raises:
        ValueError: If it is none. The message lists them.
    """
    if task is None:
        return None
    known = BENCHMARK_NAMES.get(task, task)
    if known not in TASKS:
        raise ValueError(f"Argument `task` must be one of {TASKS} or None, but got {task!r}.")
    return known


def check_method(method: str) -> Method:
    """Return `method` if it is one, else raise a `ValueError` that lists them."""
    if method not in METHODS:
        raise ValueError(f"Argument `method` must be one of {METHODS}, but got {method!r}.")
    return method


def modalities(task: Task) -> tuple[Modality, Modality | None]:
    """Return the modality of a task's alternatives and of its reference (None: it has none)."""
    return _MODALITIES[task]


def resolve_task(
    task: Task | None, preds: Any, target: Any, names: tuple[str, str] = ("preds", "target")
) -> Task:
    """Infer the task from what is passed, or check that what is passed fits the task.

    A plain `str` counts as a text; name image files by `pathlib.Path`, or say `task=`.

    Args:
        task: The task, or None to infer it.
        preds: Images or texts to be scored, nested to any depth.
        target: What they are scored against, or None.
        names: How the caller names the two arguments, for error texts.

    Raises:
        ValueError: If the inputs do not fit the task, or fit none.
        TypeError: If something is neither image nor text.
    """
    first = _modality(preds, names[0])
    second = None if target is None else _modality(target, names[1])
    passed = _describe(first, second)
    if task is not None:
        expected = modalities(task)
        # A str names an image file where the task wants an image there.
        if expected[0] == "image" and first == "text":
            first = "image"
        if expected[1] == "image" and second == "text":
            second = "image"
        if (first, second) != expected:
            raise ValueError(
                f"Arguments `{names[0]}` and `{names[1]}` must be {_describe(*expected)} for task {task!r},"
                f" but got {passed}."
            )
        return task
    if (first, second) == ("image", None):
        return "quality"
    for candidate in TASKS[:3]:
        if modalities(candidate) == (first, second):
            return candidate
    raise ValueError(
        f"Arguments `{names[0]}` and `{names[1]}` must be images and images, images and texts, texts and images, or"
        f" images alone, but got {passed}. Image files are named by `pathlib.Path`; a str is a text."
    )


def _modality(value: Any, name: str) -> Modality:
    """Tell images from texts by the leaves, which must agree."""
    import torch

    leaves = [value]
    while any(_is_list(leaf) for leaf in leaves):
        leaves = [leaf for item in leaves for leaf in (item if _is_list(item) else [item])]
    if not leaves or (isinstance(value, torch.Tensor) and value.numel() == 0):
        raise ValueError(f"Argument `{name}` must hold at least one image or text, but it is empty.")
    kinds = {_leaf_modality(leaf, name) for leaf in leaves}
    if len(kinds) > 1:
        raise ValueError(f"Argument `{name}` must hold only images or only texts, but got both.")
    return kinds.pop()


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _leaf_modality(leaf: Any, name: str) -> Modality:
    if isinstance(leaf, str):
        return "text"
    from torch import Tensor

    from unisim_metrics.images.inputs import is_image, is_pixel_array

    if isinstance(leaf, Tensor) or is_pixel_array(leaf) or is_image(leaf):
        return "image"
    raise TypeError(
        f"Argument `{name}` must hold images (PIL image, tensor, array, pathlib.Path) or texts (str),"
        f" but got {type(leaf).__module__}.{type(leaf).__qualname__}."
    )


def _describe(first: Modality, second: Modality | None) -> str:
    return f"{first}s alone" if second is None else f"{first}s and {second}s"
