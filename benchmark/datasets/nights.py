"""NIGHTS: which of two variations looks more like a synthetic photo."""

from __future__ import annotations

from collections.abc import Sequence

from ..samples import Candidate
from .annotations import read_csv
from .base import PooledDataset, Split, both, splits
from .hub_files import authors_archive

MIN_VOTES = 6


class Nights(PooledDataset):
    """Triplets that at least six people judged alike; the official splits."""

    id = "nights"
    task = "image-image"
    size = 1824
    train_size = 15_900
    files = both("nights/data.csv")
    images = both("nights/ref", "nights/distort")
    hub = splits(test=authors_archive("nights.tar"))
    licence = "MIT"
    citation = "Fu et al. (2023), DreamSim, arXiv 2306.09344"
    url = "https://dreamsim-nights.github.io"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return the triplets of the split, as voted."""
        folder = self.root / "nights"
        columns = ("split", "votes", "right_vote", "ref_path", "left_path", "right_path")
        candidates: list[Candidate] = []
        for row in read_csv(self.path("nights/data.csv"), columns):
            if row.text("split") == split and row.number("votes") >= MIN_VOTES:
                sides = ["left_path", "right_path"]
                if row.one_of("right_vote", (0, 1)):
                    sides.reverse()
                right, wrong = (folder / row.file(side) for side in sides)
                candidates.append((folder / row.file("ref_path"), (right, wrong)))
        return candidates
