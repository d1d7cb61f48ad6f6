"""The texts that stand for quality and for the perceptual attributes (paper, Section 3.1, Appendix C).

`naive` compares an image with one prompt. `clip-iqa` compares it with an antonym pair (Wang et al. 2023).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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


DEFAULT_PROMPTS: dict[Attribute, Prompts] = {
    "quality": Prompts("A high quality photo.", "Good photo.", "Bad photo."),
    "brightness": Prompts("A bright photo.", "Bright photo.", "Dark photo."),
    "colorfulness": Prompts("A colorful photo.", "Colorful photo.", "Dull photo."),
    "contrast": Prompts("A high contrast photo.", "High contrast photo.", "Low contrast photo."),
    "sharpness": Prompts("A sharp photo.", "Sharp photo.", "Blurry photo."),
}


def resolve_prompts(task: Task, prompts: Prompts | None) -> Prompts | None:
    """Return the prompts that `task` compares with: the caller's, the default ones, or None."""
    if task not in ATTRIBUTES:
        return None
    return prompts or DEFAULT_PROMPTS[task]


def check_prompts(prompts: Prompts | None) -> Prompts | None:
    """Return `prompts` if it is a `Prompts` or None, else raise a `TypeError`."""
    if prompts is not None and not isinstance(prompts, Prompts):
        raise TypeError(
            f"Argument `prompts` must be a `unisim_metrics.Prompts` or None, but got {prompts!r}."
        )
    return prompts


def prompts_tag(task: Task, method: Method, prompts: Prompts | None) -> str:
    """Return what a signature says of the method and its texts: `/naive`, or with other texts `/naive/1a2b3c4d`."""
    resolved = resolve_prompts(task, prompts)
    if resolved is None:
        return ""
    texts = resolved.texts(method)
    if texts == DEFAULT_PROMPTS[task].texts(method):  # type: ignore[index]
        return f"/{method}"
    return f"/{method}/{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()[:8]}"
