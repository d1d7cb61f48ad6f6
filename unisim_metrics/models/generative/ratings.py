"""The questions that a generative model is asked about one picture, and the words that it answers by.

This is the one place of their wording. Whether a picture shows what a text says is asked as VQAScore asks it (Lin et
al. 2024), how good it is as Q-Align does (Wu et al. 2024). The score is the expectation of the words' weights under the
probabilities of the next token, over these words alone: of yes and no that is P(yes) / (P(yes) + P(no)).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from unisim_metrics.models.generative.instructions import ImagePart, Part, Question
from unisim_metrics.tasks import Task


@dataclass(frozen=True)
class Rating:
    """A question about one picture, and how its answer is read.

    Attributes:
        question: What is asked behind the picture; `{}` stands for a text.
        start: How the answer begins, which the model continues.
        words: What it may continue with.
        weights: What each word counts, in [0, 1].
    """

    question: str
    start: str
    words: tuple[str, ...]
    weights: tuple[float, ...]


_YES_NO = Rating(
    question='Does this figure show "{}"? Please answer yes or no.',
    start="",
    words=("Yes", "No"),
    weights=(1.0, 0.0),
)

RATINGS: Mapping[Task, Rating] = {
    "image-text": _YES_NO,
    "caption": _YES_NO,
    "quality": Rating(
        question="How would you rate the quality of this image?",
        start="The quality of the image is",
        words=(" excellent", " good", " fair", " poor", " bad"),
        weights=(1.0, 0.75, 0.5, 0.25, 0.0),
    ),
}
"""The tasks of which one picture is asked about alone."""


def ask_about(task: Task, image: Any, text: str | None) -> Question:
    """Put a question about one picture.

    Args:
        task: One of `RATINGS`.
        image: The picture.
        text: What it may show; None for quality.
    """
    rating = RATINGS[task]
    before, _, after = rating.question.partition("{}")
    parts: tuple[Part, ...] = (ImagePart(image), before if text is None else f"{before}{text}{after}")
    return Question(parts, len(rating.words))


def ratings_hash() -> str:
    """SHA-256, in hex, of all questions, words and weights."""
    text = repr([(task, astuple(rating)) for task, rating in RATINGS.items()])
    return hashlib.sha256(text.encode()).hexdigest()
