"""What scores of a model are usually like, as far as that was measured."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TypedDict

from unisim_metrics.tasks import Method, Task


class TypicalRange(TypedDict):
    """The range of scores of a task.

    Attributes:
        task: The task.
        method: How quality and attributes were scored; None for other tasks.
        low: A twentieth of the scores lies below.
        middle: The median.
        high: A twentieth lies above.
        n: How many scores.
        samples: What was scored.
        signature: What made the scores.
    """

    task: Task
    method: Method | None
    low: float
    middle: float
    high: float
    n: int
    samples: str
    signature: str


def typical_scores(name: str) -> list[TypicalRange]:
    """Return the ranges of the scores of a named model, one a task and method; none where nothing was measured.

    Args:
        name: A name of the registry.
    """
    return _measured().get(name, [])


@cache
def _measured() -> dict[str, list[TypicalRange]]:
    text = (
        files("unisim_metrics").joinpath("assets").joinpath("typical_scores.json").read_text(encoding="utf-8")
    )
    found: dict[str, list[TypicalRange]] = json.loads(text)
    return found
