"""The questions that a generative model is asked (paper, Table 7), for any number of alternatives, and its answers.

The wording is the paper's, its spelling and spaces kept; only numbers grow with the alternatives: "Here are three
images" becomes "Here are five images", and after "(B) Image 3" comes "(C) Image 4".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from unisim_metrics.images.inputs import check_values, list_images
from unisim_metrics.models.texts import check_texts
from unisim_metrics.tasks import TASKS, Modality, Task, modalities, resolve_task

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
IMAGE = "<image>"

_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
_ADJECTIVES: dict[Task, str] = {
    "brightness": "bright",
    "colorfulness": "colorful",
    "contrast": "contrasted",
    "sharpness": "sharp",
}

_LETTER = re.compile(
    r"(?:(?:The )?[Aa]nswer(?: is)?:? ?)?(?:[Oo]ption )?"
    r"(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])(?=$|[).:]))[).:]{0,2}"
    r"(?: ?[Ii]mage \d+)?[.]?"
)

Demonstration: TypeAlias = tuple[Any, Sequence[Any], int]
"""A solved sample: reference, alternatives, index of the right one."""


@dataclass(frozen=True, eq=False)
class ImagePart:
    """The place of an image in a question.

    Attributes:
        content: The image.
    """

    content: Any


Part = str | ImagePart
"""A stretch of text, or an image."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        parts: Text and images, in order.
        count: How many alternatives there are to choose from, named by the first letters.
    """

    parts: tuple[Part, ...]
    count: int

    @property
    def images(self) -> list[Any]:
        """The images, in order."""
        return [part.content for part in self.parts if isinstance(part, ImagePart)]


def ask(task: Task, reference: Any, alternatives: Sequence[Any]) -> Question:
    """Put a forced choice into words.

    Args:
        task: The task.
        reference: An image or a text; None for tasks without a reference.
        alternatives: Two or more images or texts.

    Returns:
        The question, whose n-th letter stands for the n-th alternative.

    Raises:
        ValueError: If there are more alternatives than letters.
    """
    count = len(alternatives)
    if count > len(LETTERS):
        raise ValueError(
            f"Argument `alternatives` must hold at most {len(LETTERS)} alternatives a group for a generative model,"
            f" which names them by letters, but got {count}."
        )
    first, second = modalities(task)
    shown: list[Any] = list(alternatives) if first == "image" else []
    if second == "image":
        shown.insert(0, reference)
    text = _write(task, count)
    left = iter(shown)
    parts: list[Part] = []
    for index, piece in enumerate(text.split(IMAGE)):
        parts += [ImagePart(next(left))] if index else []
        parts += [_fill(piece, reference, alternatives, (first, second))] if piece else []
    return Question(tuple(parts), count)


def instructions_hash() -> str:
    """SHA-256, in hex, of the wording of every task, for two and for three alternatives."""
    texts = [_write(task, count) for task in TASKS for count in (2, 3)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _fill(
    text: str, reference: Any, alternatives: Sequence[Any], kinds: tuple[Modality, Modality | None]
) -> str:
    """Put the texts of a task in their places, each once: a caption may hold braces."""
    first, second = kinds
    values = [*([reference] if second == "text" else []), *(alternatives if first == "text" else [])]
    pieces = text.split("{}")
    if len(pieces) == 1:
        return text
    return pieces[0] + "".join(f"{value}{piece}" for value, piece in zip(values, pieces[1:], strict=True))


def _write(task: Task, count: int) -> str:
    return _WRITERS[task](count)


def _image_image(count: int) -> str:
    return (
        "Answer the following multiple-choice question:\n"
        f"Here are {_number(count + 1)} images: {IMAGE * (count + 1)}. \n"
        f" If image 1 is the reference image, which image of the other {_number(count)} is more similar to the"
        " reference image? \n Options: \n" + _options("Image", count, " \n", start=2)
    )


def _image_text(count: int) -> str:
    return (
        "Answer the following question:\n"
        f"Here are {_number(count)} images: {IMAGE * count}, and here is the reference caption: {{}}. which of the"
        f" {_number(count)} images is more aligned to the reference caption?\n Options:\n"
        + _options("Image", count, " \n")
    )


def _caption(count: int) -> str:
    captions = ", ".join(f"caption {place}: {{}}" for place in range(1, count + 1))
    return (
        "Answer the following multiple-choice question:\n"
        f"Given the reference image: {IMAGE} and {_number(count)} captions, {captions} \n"
        " which caption has a better alignment with the reference image? \nOptions:\n"
        + _options("Caption", count, "\n")
    )


def _quality(count: int) -> str:
    return (
        "Answer the following multiple-choice question:\n"
        f"Given {_number(count)} images: {IMAGE * count} which image has a better quality? \nOptions:\n"
        + _options("Image", count, "\n")
    )


def _attribute(adjective: str) -> Callable[[int], str]:
    def write(count: int) -> str:
        return (
            "Answer the following multiple-choice question:\n"
            f"Given {_number(count)} images: {IMAGE * count} which image is more {adjective}? \nOptions:\n"
            + _options("Image", count, " \n")
        )

    return write


def _odd_one_out(count: int) -> str:
    letters = ", ".join(LETTERS[:count])
    return (
        "Answer the following multiple-choice question:\n"
        f"Here are {_number(count)} images: {IMAGE * count}, Which one ({letters}) is the odd-one-out of the group?\n"
        " Options:\n" + _options("Image", count, "\n")
    )


_WRITERS: dict[Task, Callable[[int], str]] = {
    "image-image": _image_image,
    "image-text": _image_text,
    "caption": _caption,
    "quality": _quality,
    "odd-one-out": _odd_one_out,
    **{task: _attribute(adjective) for task, adjective in _ADJECTIVES.items()},
}


def _options(kind: str, count: int, separator: str, start: int = 1) -> str:
    return separator.join(f"({LETTERS[place]}) {kind} {place + start}" for place in range(count))


def _number(count: int) -> str:
    return _NUMBERS[count - 2] if count <= len(_NUMBERS) + 1 else str(count)


def parse_letter(text: str, count: int) -> int | None:
    """Return the choice that a text states, if it states one and nothing else.

    A choice is a capital letter by itself: `A`, `(A)`, `A.`, `A)`, `Option A`, `Answer: A`. The option's own words may
    follow, as the question has them: `(A) Image 2`, `A. Image 2`. White space around it and Markdown's stars do not
    count. A sentence does not count either, whatever letters it holds: "Image 2 is sharper than image 1" is no choice
    of (A).

    Args:
        text: What the model wrote.
        count: How many alternatives it could choose from.

    Returns:
        The index of the alternative, or None if the text is no such letter, or the letter of none.
    """
    match = _LETTER.fullmatch(text.replace("*", "").strip())
    if match is None:
        return None
    place = LETTERS.index(next(group for group in match.groups() if group))
    return place if place < count else None


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
