"""CIFAR-100-OOO and ImageNet-OOO: two images of one class and one of another, the odd one out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from math import comb
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisim_metrics.statistics.stream import Stream

from ..samples import Candidate
from .annotations import AnnotationError
from .base import Dataset, Split, splits
from .pickles import read_pickle

CIFAR100_COARSE_CLASSES = 20
CIFAR100_FILE = "cifar-100-python/test"
IMAGENET_CLASSES = 1000

# Indices of ImageNet's classes, sorted by WordNet id. The paper's list of terrestrial animals repeats some, which
# doubles their weight there; here each class counts once.
IMAGENET_GROUPS: dict[str, frozenset[int]] = {
    "aquatic animals": frozenset({*range(7), 33, 34, *range(147, 151), *range(390, 398)}),
    "terrestrial animals": frozenset(
        index
        for first, last in (
            *((7, 24), (30, 32), (38, 43), (45, 48), (51, 57), (59, 64), (66, 68), (70, 100), (102, 102)),
            *((104, 106), (127, 143), (269, 326), (344, 344), (348, 388)),
        )
        for index in range(first, last + 1)
    ),
    "clothes": frozenset(
        {399, 400, 411, 434, 443, 474, 501, 529, 568, 578, 608, 614, 617, 638, 655, 697, 775, 808, 824, 834}
    ),
    "transportations": frozenset(
        {
            *(
                403,
                404,
                405,
                407,
                408,
                436,
                450,
                472,
                476,
                511,
                547,
                555,
                565,
                573,
                576,
                595,
                612,
                627,
                654,
                656,
            ),
            *(665, 671, 717, 779, 780, 802, 814, 817, 829, 833, 866, 870, 874, 880),
        }
    ),
    "places": frozenset({415, 424, 425, 467, 483, 497, 500, 580, 624, 663, 668, 698, 978}),
    "musical instruments": frozenset(
        {
            401,
            402,
            420,
            432,
            486,
            513,
            541,
            542,
            546,
            558,
            577,
            579,
            593,
            594,
            641,
            642,
            683,
            684,
            776,
            875,
            889,
        }
    ),
}


class _OddOneOut(Dataset):
    """Each class stands against each other one equally often, give or take one sample; no triplet occurs twice."""

    task = "odd-one-out"
    size = 5000

    @abstractmethod
    def classes(self) -> Sequence[Sequence[Path]]:
        """Return the images of each class."""

    def draw(self, split: Split, n: int | None, stream: Stream) -> Sequence[Candidate]:
        """Return triplets, the odd one first."""
        classes = self.classes()
        kinds = [(same, odd) for same in range(len(classes)) for odd in range(len(classes)) if same != odd]
        # As many of each kind as the scarcest has, at most: so the kinds stay even.
        scarcest = min(comb(len(classes[same]), 2) * len(classes[odd]) for same, odd in kinds)
        count = self.count(split, n, scarcest * len(kinds))
        each, rest = divmod(count, len(kinds))
        favoured = set(stream.choose(rest, len(kinds), "kinds"))
        candidates: list[Candidate] = []
        for kind, (same, odd) in enumerate(kinds):
            total = comb(len(classes[same]), 2) * len(classes[odd])
            for number in stream.choose(each + (kind in favoured), total, f"triplets {same} {odd}"):
                pair, third = divmod(number, len(classes[odd]))
                first, second = _pair(pair)
                images = (classes[odd][third], classes[same][first], classes[same][second])
                candidates.append((None, images))
        return candidates


class Cifar100Ooo(_OddOneOut):
    """Test images of CIFAR-100 by its 20 coarse classes, from the official Python archive, unpacked.

    All images lie in one file; the path of one is that file's, with the image's number below it.
    """

    id = "cifar-100-ooo"
    files = splits(test=(CIFAR100_FILE,))
    images = splits(test=())
    citation = "Muttenthaler et al. (2023), arXiv 2211.01201; Krizhevsky (2009), CIFAR-100"
    url = "https://www.cs.toronto.edu/~kriz/cifar.html"

    def classes(self) -> Sequence[Sequence[Path]]:
        """Return the images of each coarse class."""
        _, labels = self._content
        folder = self.root / CIFAR100_FILE
        return [
            [folder / f"{index:05d}" for index in np.flatnonzero(labels == label).tolist()]
            for label in range(CIFAR100_COARSE_CLASSES)
        ]

    def shown_images(self, split: Split = "test") -> Sequence[Path]:
        """Return none: the images are no files, and all are there when the set is."""
        self.classes()
        return []

    def image(self, path: Path) -> Image.Image:
        """Return an image of the file."""
        pixels, _ = self._content
        return Image.fromarray(pixels[int(path.name)])

    @cached_property
    def _content(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        path = self.path(CIFAR100_FILE)
        content = read_pickle(path, encoding="bytes")
        try:
            pixels = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            labels = np.asarray(content[b"coarse_labels"], dtype=np.int64)
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(
                f"{path}: expected b'data' and b'coarse_labels', but got {error!r}."
            ) from error
        if len(pixels) != len(labels) or set(labels.tolist()) != set(range(CIFAR100_COARSE_CLASSES)):
            raise AnnotationError(
                f"{path}: expected one coarse label from 0 to {CIFAR100_COARSE_CLASSES - 1} an image, each in use, but"
                f" got {len(labels)} labels for {len(pixels)} images."
            )
        return np.ascontiguousarray(pixels), labels


class ImageNetOoo(_OddOneOut):
    """Validation images of ImageNet-1k by six groups of its classes, in one folder a class, named by WordNet id."""

    id = "imagenet-ooo"
    files = splits(test=())
    images = splits(test=("imagenet/val",))
    licence = "ImageNet's terms of access"
    citation = "Ghazanfari et al. (2024), UniSim, arXiv 2412.10594; Russakovsky et al. (2015), ImageNet"
    url = "https://image-net.org/download.php"

    def classes(self) -> Sequence[Sequence[Path]]:
        """Return the images of each group."""
        folder = self.path("imagenet/val")
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
        if len(folders) != IMAGENET_CLASSES:
            raise AnnotationError(
                f"{folder}: expected {IMAGENET_CLASSES} folders of classes, but got {len(folders)}."
            )
        return [
            [path for index in sorted(group) for path in sorted(folders[index].iterdir())]
            for group in IMAGENET_GROUPS.values()
        ]


def _pair(number: int) -> tuple[int, int]:
    """Return the pair that stands at that place of the list (0, 1), (0, 2), (1, 2), (0, 3) and so on."""
    second = int((1 + (1 + 8 * number) ** 0.5) / 2)
    # The root is rounded: it may be off by one.
    second += (second + 1) * second // 2 <= number
    second -= second * (second - 1) // 2 > number
    return number - second * (second - 1) // 2, second
