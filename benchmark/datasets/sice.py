"""SICE: several exposures of one scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..samples import Candidate
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive
from .pairs import ScoredPairs

PARTS = ("Dataset_Part1", "Dataset_Part2")
SHARE = 0.1
SCALE = 0.2


class SiceBrightness(PooledDataset):
    """Which of two exposures is brighter: the one with the higher mean of luma, rounded down; equal ones make no pair.

    The scenes are the first 10 % in the order of the parts and of the scenes' names (as text). There is no annotation
    file, so listing the samples reads these scenes' images. Models are shown them at a fifth of their size. By the
    authors' protocol a folder `Label`, which holds one good exposure of each scene, counts as a scene.
    """

    id = "sice-brightness"
    task = "brightness"
    size = 2151
    files = splits(test=())
    images = splits(test=tuple(f"sice/{part}" for part in PARTS))
    hub = splits(test=authors_archive("sice.tar"))
    citation = "Cai et al. (2018), Learning a Deep Single Image Contrast Enhancer, IEEE TIP"
    url = "https://github.com/csjcai/SICE"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of exposures of one scene."""
        candidates: list[Candidate] = []
        for exposures in self._scenes():
            candidates += ScoredPairs(None, exposures, [self._luma(path) for path in exposures])
        return candidates

    def shown_images(self, split: Split = "test") -> Sequence[Path]:
        """Return the exposures, none of which is read."""
        return [exposure for exposures in self._scenes() for exposure in exposures]

    def image(self, path: Path) -> Image.Image:
        """Return an exposure at a fifth of its size."""
        image = super().image(path)
        size = (max(int(image.width * SCALE), 1), max(int(image.height * SCALE), 1))
        return image.resize(size, Image.Resampling.LANCZOS)

    def _scenes(self) -> Iterator[list[Path]]:
        """Yield the exposures of each scene."""
        scenes = [
            scene
            for part in PARTS
            for scene in sorted(self.path(f"sice/{part}").iterdir())
            if scene.is_dir() and (self.protocol == "authors" or scene.name != "Label")
        ]
        for scene in scenes[: int(len(scenes) * SHARE)]:
            yield sorted(path for path in scene.iterdir() if path.is_file() and path.name[0] != ".")

    def _luma(self, path: Path) -> int:
        return int(np.asarray(super().image(path).convert("L")).mean())
