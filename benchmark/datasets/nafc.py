"""HPDv2 with more than two images to choose from (paper, Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence

from ..samples import Candidate, Sample
from .base import Split, splits
from .hpdv2 import HPDv2

__all__ = ["NAFC_SETS", "HPDv2Nafc"]


class HPDv2Nafc(HPDv2):
    """Which of several images of one prompt people like best.

    Attributes:
        alternatives: How many images a sample has. With two the samples are those of HPDv2.
    """

    alternatives: int
    train_size = None
    files = splits(test=HPDv2.files["test"])
    images = splits(test=HPDv2.images["test"])
    hub = splits(test=HPDv2.hub["test"])

    def samples(self, split: Split = "test", n: int | None = None, seed: int = 0) -> list[Sample]:
        """Return samples, those of `HPDv2.nafc`."""
        self._check_split(split)
        return self.nafc(self.alternatives, n, seed)

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all groups of so many images of each record, where one is ranked best."""
        return self._choices(split, self.alternatives)


class HPDv2Nafc2(HPDv2Nafc):
    """HPDv2 itself."""

    id = "hpdv2-nafc-2"
    alternatives = 2


class HPDv2Nafc3(HPDv2Nafc):
    """Three images."""

    id = "hpdv2-nafc-3"
    alternatives = 3


class HPDv2Nafc4(HPDv2Nafc):
    """Four images."""

    id = "hpdv2-nafc-4"
    alternatives = 4


class HPDv2Nafc5(HPDv2Nafc):
    """Five images."""

    id = "hpdv2-nafc-5"
    alternatives = 5


class HPDv2Nafc6(HPDv2Nafc):
    """Six images."""

    id = "hpdv2-nafc-6"
    alternatives = 6


class HPDv2Nafc7(HPDv2Nafc):
    """Seven images."""

    id = "hpdv2-nafc-7"
    alternatives = 7


class HPDv2Nafc8(HPDv2Nafc):
    """Eight images."""

    id = "hpdv2-nafc-8"
    alternatives = 8


NAFC_SETS: tuple[type[HPDv2Nafc], ...] = (
    HPDv2Nafc2,
    HPDv2Nafc3,
    HPDv2Nafc4,
    HPDv2Nafc5,
    HPDv2Nafc6,
    HPDv2Nafc7,
    HPDv2Nafc8,
)
