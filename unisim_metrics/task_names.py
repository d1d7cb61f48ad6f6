"""The names of the perceptual tasks and of the ways in which they are scored (paper, Section 3.1)."""

from __future__ import annotations

from typing import Literal, get_args

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
