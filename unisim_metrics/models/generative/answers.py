"""Reading the choice out of a text that a generative model has written."""

from __future__ import annotations

import re

from unisim_metrics.models.generative.instructions import LETTERS

__all__ = ["parse_letter"]

_LETTER = re.compile(
    r"(?:(?:The )?[Aa]nswer(?: is)?:? ?)?(?:[Oo]ption )?"
    r"(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])(?=$|[).:]))[).:]{0,2}"
    r"(?: ?[Ii]mage \d+)?[.]?"
)


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
