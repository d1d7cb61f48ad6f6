"""The texts that stand for quality and for the perceptual attributes (paper, Section 3.1, Appendix C).

`naive` compares an image with one prompt. `clip-iqa` compares it with an antonym pair (Wang et al. 2023).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from unisim_metrics.tasks import ATTRIBUTES, Attribute, Method, Task


@dataclass(frozen=True)
class Prompts:
    """The texts of one attribute.

    Attributes:
        naive: The reference text of the `naive` method.
        positive: The text of a photo that has the attribute, for `clip-iqa`.
        negative: Its antonym, for `clip-iqa`.
    """

    naive: str
    positive: str
    negative: str

    def texts(self, method: Method) -> tuple[str, ...]:
        """Return the texts that `method` compares with."""
        return (self.naive,) if method == "naive" else (self.positive, self.negative)


Wording = Literal["authors", "paper"]
PromptsLike: TypeAlias = Prompts | Wording | None

# What the authors' code compares with, missing full stops included: it made the published models and figures.
DEFAULT_PROMPTS: dict[Attribute, Prompts] = {
    "quality": Prompts("A high-quality photo.", "Good photo.", "Bad photo."),
    "brightness": Prompts("A bright photo.", "Bright photo.", "Dark photo."),
    "colorfulness": Prompts("A very colorful photo.", "Colorful photo.", "Dull photo"),
    "contrast": Prompts("A high contrast photo.", "High contrast photo.", "Low contrast photo."),
    "sharpness": Prompts("A very sharp photo", "Sharp photo.", "Blurry photo."),
}

PAPER_PROMPTS: dict[Attribute, Prompts] = {
    "quality": Prompts("A high quality photo.", "Good photo.", "Bad photo."),
    "brightness": DEFAULT_PROMPTS["brightness"],
    "colorfulness": Prompts("A colorful photo.", "Colorful photo.", "Dull photo."),
    "contrast": DEFAULT_PROMPTS["contrast"],
    "sharpness": Prompts("A sharp photo.", "Sharp photo.", "Blurry photo."),
}

WORDINGS: dict[Wording, dict[Attribute, Prompts]] = {"authors": DEFAULT_PROMPTS, "paper": PAPER_PROMPTS}


def resolve_prompts(task: Task, prompts: PromptsLike) -> Prompts | None:
    """Return the texts that `task` compares with: the caller's, those of a wording (None: the authors'), or None."""
    if task not in ATTRIBUTES:
        return None
    checked = check_prompts(prompts)
    return checked if isinstance(checked, Prompts) else WORDINGS[checked or "authors"][task]


def check_prompts(prompts: object) -> Prompts | Literal["paper"] | None:
    """Return `prompts` if they are a `Prompts`, a wording or None; the authors' wording as the None that stands for it.

    Raises:
        ValueError: If they are a string that names no wording.
        TypeError: If they are something else.
    """
    if isinstance(prompts, Prompts):
        return prompts
    if prompts is None or prompts == "authors":
        return None
    if prompts == "paper":
        return "paper"
    message = (
        f"Argument `prompts` must be a `unisim_metrics.Prompts`, one of {tuple(WORDINGS)}, or None,"
        f" but got {prompts!r}."
    )
    raise ValueError(message) if isinstance(prompts, str) else TypeError(message)


def prompts_tag(task: Task, method: Method, prompts: PromptsLike) -> str:
    """Return what a signature says of the method and its texts.

    `/naive` stands for the authors' texts, `/naive/paper` for the paper's where they are others, `/naive/1a2b3c4d` for
    texts of one's own.
    """
    resolved = resolve_prompts(task, prompts)
    if resolved is None:
        return ""
    texts = resolved.texts(method)
    for wording, tag in (("authors", ""), ("paper", "/paper")):
        if texts == WORDINGS[wording][task].texts(method):  # type: ignore[index]
            return f"/{method}{tag}"
    return f"/{method}/{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:8]}"
