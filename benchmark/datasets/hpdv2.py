"""HPDv2: which generated image people prefer for a prompt, out of two or more (paper, Figure 4)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unisim_metrics.statistics.stream import Stream

from ..samples import Candidate, Sample, arrange
from .annotations import Entry, read_json
from .base import PooledDataset, Split, splits
from .hub_files import HubFiles

REVISION = "bb0f2563e451e11c3f376b2ba93615db00e042e1"
# Four images of the published training archive cannot be decoded.
DAMAGED = {"00006811.jpg", "00168743.jpg", "00331911.jpg", "00310087.jpg"}


def _published(split: Split) -> HubFiles:
    files = (f"{split}.json", f"{split}.tar.gz")
    return HubFiles("ymhao/HPDv2", files, folder="hpdv2", revision=REVISION)


class HPDv2(PooledDataset):
    """Pairs of images of one prompt.

    A record holds a `prompt`, a list of images (`image_path` or `file_path`) and the answer: either the `rank` of each
    image, where lower is better (as the official test file does, for nine images), or `human_preference`, 1 for
    the preferred one and 0 for the others (as the official training file does, for two). Images of equal rank make
    no pair. In training each record counts, also where several people judged the same two images.
    """

    id = "hpdv2"
    task = "image-text"
    size = 5000
    train_size: int | None = 645_100
    files = splits(test=("hpdv2/test.json",), train=("hpdv2/train.json",))
    images = splits(test=("hpdv2/test",), train=("hpdv2/train",))
    licence = "Apache-2.0"
    citation = "Wu et al. (2023), Human Preference Score v2, arXiv 2306.09341"
    url = "https://github.com/tgxs002/HPSv2"
    hub_id = "ymhao/HPDv2"
    hub = splits(test=_published("test"), train=_published("train"))

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of each record."""
        return self._choices(split, 2)

    def nafc(self, alternatives: int, n: int | None = None, seed: int = 0) -> list[Sample]:
        """Return test samples with more than two alternatives, of which the best-ranked image is right.

        Args:
            alternatives: How many images a sample has; with two the samples are those of `samples`.
            n: How many samples; None for as many as the paper takes of pairs.
            seed: Another seed gives another choice and order.

        Raises:
            ValueError: If no prompt has so many images, or if there are fewer than `n` distinct samples.
        """
        if alternatives == 2:
            return HPDv2(self.root).samples("test", n, seed)
        if n is not None and n < 1:
            raise ValueError(f"Argument `n` must be at least 1, or None, but got {n}.")
        pool = self._choices("test", alternatives) if alternatives > 2 else []
        if not pool:
            raise ValueError(
                f"Argument `alternatives` must be from 2 to the images of a prompt, got {alternatives}."
            )
        stream = Stream(HPDv2.id, "test", seed, alternatives)
        chosen = stream.choose(self.count("test", n, len(pool)), len(pool))
        return arrange([pool[index] for index in chosen], stream)

    def _choices(self, split: Split, count: int) -> list[Candidate]:
        folder = self.root / "hpdv2" / split
        # Each image stands in several records: one path is enough.
        paths: dict[str, Path] = {}
        candidates: list[Candidate] = []
        for record in read_json(self.path(f"hpdv2/{split}.json")):
            prompt = record.text("prompt")
            names = record.files("image_path" if "image_path" in record else "file_path")
            ranks = _ranks(record, len(names))
            if split == "train" and not DAMAGED.isdisjoint(names):
                continue
            for group in itertools.combinations(range(len(names)), count):
                best, *others = sorted(group, key=ranks.__getitem__)
                if ranks[best] < ranks[others[0]]:
                    images = tuple(
                        paths.get(names[index]) or paths.setdefault(names[index], folder / names[index])
                        for index in (best, *others)
                    )
                    candidates.append((prompt, images))
        return candidates


def _ranks(record: Entry, count: int) -> Sequence[float]:
    """Return the ranks of the images, lower being better."""
    if "rank" in record:
        return record.numbers("rank", count)
    preferred = record.numbers("human_preference", count)
    if not {0, 1}.issuperset(preferred):
        record.fail("human_preference", "a list of 0 and 1")
    return [-preference for preference in preferred]


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

    def __reduce__(self) -> tuple[object, ...]:
        # Its class stands nowhere by its name.
        return _restored, (self.alternatives, self.__dict__)


def _nafc(alternatives: int) -> type[HPDv2Nafc]:
    members = {"id": f"hpdv2-nafc-{alternatives}", "alternatives": alternatives, "__module__": __name__}
    return type(f"HPDv2Nafc{alternatives}", (HPDv2Nafc,), members)


def _restored(alternatives: int, state: dict[str, Any]) -> HPDv2Nafc:
    dataset = NAFC_SETS[alternatives - 2](state["root"])
    dataset.__dict__.update(state)
    return dataset


NAFC_SETS = tuple(_nafc(alternatives) for alternatives in range(2, 9))
"""HPDv2 with two images of a prompt to choose from, as it is, up to eight."""
