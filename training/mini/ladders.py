"""What is judged in the perceptual stage: degrees of damage, and materials by human answers, as rows of views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..distortions import Name
from . import photos
from .views import View


@dataclass(frozen=True)
class Ladder:
    """A crop and growing degrees of one kind of damage to it.

    Attributes:
        rows: Of the views, the undamaged crop first, the worst last.
        distortion: The kind of damage.
    """

    rows: tuple[int, ...]
    distortion: Name


def find_ladders(views: Sequence[View]) -> list[Ladder]:
    """All ladders of a plan."""
    sharp: dict[int, int] = {}
    damaged: dict[tuple[int, Name], list[int]] = {}
    for row, view in enumerate(views):
        if view.distortion is None and view.coarse is None:
            sharp[view.group] = row
        elif view.distortion is not None:
            damaged.setdefault((view.group, view.distortion), []).append(row)
    return [
        Ladder((sharp[group], *sorted(rows, key=lambda row: views[row].severity)), name)
        for (group, name), rows in damaged.items()
    ]


class MaterialTriplets:
    """Renderings of materials by human answers, `[reference, closer, farther]`, none of them held out."""

    def __init__(self, root: Path, views: Sequence[View]) -> None:
        rows_of: dict[str, list[int]] = {}
        for row, view in enumerate(views):
            rows_of.setdefault(view.path, []).append(row)
        folders = photos.material_images(root)
        allowed = set(range(len(folders[0]))) - photos.held_out_materials(len(folders[0]))
        self.answers = photos.material_triplets(root, allowed)
        self.rows = [
            {index: rows_of[folder[index].relative_to(root).as_posix()] for index in allowed}
            for folder in folders
        ]

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw so many triplets, each under one light: rows of views `[count, 3]`."""
        triplets = []
        for index in rng.choice(len(self.answers), size=min(count, len(self.answers)), replace=False):
            answer = self.answers[index]
            rows = self.rows[rng.integers(len(self.rows))]
            triplets.append(
                [rng.choice(rows[role]) for role in (answer.reference, answer.closer, answer.farther)]
            )
        return np.array(triplets)
