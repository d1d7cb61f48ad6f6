"""KADID-10k: photos with 25 kinds of distortion at five levels."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..samples import Candidate
from .annotations import read_csv
from .base import PooledDataset, Split, both, splits
from .hub_files import authors_archive

AUTHORS_ROWS = 9000
REFERENCES = {"train": range(1, 73), "test": range(73, 82)}


class Kadid10k(PooledDataset):
    """Two levels of one distortion of one photo; the lower level is better. The splits share no photo.

    The test photos have 9 × 25 × 10 = 2,250 distinct pairs; the paper draws 5,000 with repeats. Of the 18,000 training
    pairs the authors' code counts 9,000 in the mixture of sets, other ones each time.
    """

    id = "kadid-10k"
    task = "quality"
    size = 5000
    train_size = 9100
    files = both("kadid10k/dmos.csv")
    images = both("kadid10k/images")
    hub = splits(test=authors_archive("kadid10k.tar"))
    citation = "Lin et al. (2019), KADID-10k, QoMEX"
    url = "https://database.mmsp-kn.de/kadid-10k-database.html"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of levels."""
        levels: dict[tuple[int, int], dict[int, Path]] = defaultdict(dict)
        for row in read_csv(self.path("kadid10k/dmos.csv"), ("dist_img",)):
            name = row.file("dist_img")
            match = re.fullmatch(r"I(\d+)_(\d+)_(\d+)\.png", name)
            if not match:
                row.fail("dist_img", "a name of the form I<reference>_<type>_<level>.png")
            reference, kind, level = map(int, match.groups())
            if reference in REFERENCES[split]:
                levels[reference, kind][level] = self.root / "kadid10k" / "images" / name
        return [
            (None, (images[milder], images[severer]))
            for _, images in sorted(levels.items())
            for milder, severer in itertools.combinations(sorted(images), 2)
        ]

    def draws_per_pass(self, split: Split) -> int | None:
        """Return what the training split counts by the authors' protocol: their table has so many rows."""
        return AUTHORS_ROWS if self.protocol == "authors" and split == "train" else None

    def original(self, image: Path) -> Path:
        """Return the photo: the pairs of each kind of distortion share no image with those of another."""
        return image.with_name(f"{image.name.partition('_')[0]}.png")
