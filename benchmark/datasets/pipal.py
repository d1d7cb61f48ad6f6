"""PIPAL: original photos and what restoration algorithms made of their damaged copies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..samples import Candidate
from .annotations import Entry, read_csv
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive

GOOD_SCORE = 1500
GOOD_COPIES = 4


class Pipal(PooledDataset):
    """The original and its first four copies of at least 1,500 points, each against each copy of fewer points.

    The official validation split is for test: the test split's scores are not public. The training copies lie in
    `PIPAL/Dist_Imgs`, as in the authors' data root, or in the official `PIPAL/Train_Dist`.
    """

    id = "pipal"
    task = "quality"
    size = 3025
    train_size = 73_700
    files = splits(test=("PIPAL/val_label.txt",), train=("PIPAL/Train_Label/*.txt",))
    images = splits(test=("PIPAL/Val_Ref", "PIPAL/Val_Dist"), train=("PIPAL/Train_Ref", "PIPAL/*Dist*"))
    # The archive holds the official validation split, under other names.
    hub = splits(
        test=authors_archive(
            "pipal.tar",
            {"pipal/Dis/": "PIPAL/Val_Dist/", "pipal/Ref/": "PIPAL/Val_Ref/", "pipal/": "PIPAL/"},
        )
    )
    citation = "Gu et al. (2020), PIPAL, arXiv 2007.12142"
    url = "https://github.com/HaomingCai/PIPAL-dataset"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of a good and a bad image of one photo."""
        originals, copies = self._folders(split)
        good: dict[str, list[Path]] = {}
        bad: dict[str, list[Path]] = defaultdict(list)
        for row in self._labels(split):
            name = row.file("image")
            photo, *rest = name.split("_")
            if not rest:
                row.fail("image", "a name of the form <photo>_<type>_<number>.bmp")
            best = good.setdefault(photo, [originals / f"{photo}.bmp"])
            if row.number("score") < GOOD_SCORE:
                bad[photo].append(copies / name)
            elif len(best) <= GOOD_COPIES:
                best.append(copies / name)
        return [
            (None, (better, worse))
            for photo in sorted(good)
            for better in good[photo]
            for worse in bad[photo]
        ]

    def _folders(self, split: Split) -> tuple[Path, Path]:
        folder = self.root / "PIPAL"
        if split == "test":
            return folder / "Val_Ref", folder / "Val_Dist"
        copies = folder / "Dist_Imgs"
        return folder / "Train_Ref", copies if copies.is_dir() else folder / "Train_Dist"

    def _labels(self, split: Split) -> Iterator[Entry]:
        if split == "test":
            paths = [self.path("PIPAL/val_label.txt")]
        else:
            paths = sorted(self.path("PIPAL/Train_Label").glob("*.txt"))
        for path in paths:
            yield from read_csv(path, ("image", "score"), header=False)
