"""PieAPP: which of two distorted images is nearer to the original, and the original against each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..samples import Candidate
from .annotations import read_csv
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive
from .pairs import distinct

# Between these shares of votes, people are not agreed.
UNDECIDED = (0.4, 0.6)


class _PieApp(PooledDataset):
    files = splits(
        test=("pie_app/test_reference_list.txt", "pie_app/labels/test/*_pairwise_labels.csv"),
        train=("pie_app/train_reference_list.txt", "pie_app/labels/train/*_pairwise_labels.csv"),
    )
    images = splits(
        test=("pie_app/reference_images/test", "pie_app/distorted_images/test"),
        train=("pie_app/reference_images/train", "pie_app/distorted_images/train"),
    )
    hub = splits(test=authors_archive("pie-app.tar", {"pie-app/": "pie_app/"}))
    citation = "Prashnani et al. (2018), PieAPP, arXiv 1806.02067"
    url = "https://github.com/prashnani/PerceptualImageError"

    def _judged(self, split: Split) -> Iterator[tuple[Path, Path, Path]]:
        """Yield the reference, the nearer and the farther image of each pair that people are agreed on.

        Pairs with the reference itself are left out: in them the answer is known.
        """
        preference = "preference for A" if split == "test" else "processed preference for A"
        columns = ("ref. image", "distorted image A", "distorted image B", preference)
        references = self.path(f"pie_app/{split}_reference_list.txt").read_text(encoding="utf-8").split()
        for name in (Path(reference).stem for reference in references):
            folder = self.root / "pie_app" / "distorted_images" / split / name
            for row in read_csv(self.path(f"pie_app/labels/{split}/{name}_pairwise_labels.csv"), columns):
                reference, *sides = (row.file(column) for column in columns[:3])
                share = row.number(preference)
                if reference in sides or UNDECIDED[0] <= share <= UNDECIDED[1]:
                    continue
                if share < 0.5:
                    sides.reverse()
                nearer, farther = (folder / side for side in sides)
                yield self.root / "pie_app" / "reference_images" / split / reference, nearer, farther


class PieApp2Afc(_PieApp):
    """Pairs of distorted images that at least 60 % judge alike; official splits."""

    id = "pieapp-2afc"
    task = "image-image"
    size = 3314
    train_size = 50_500

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return the pairs, as voted."""
        return [(reference, (nearer, farther)) for reference, nearer, farther in self._judged(split)]


class PieAppIqa(_PieApp):
    """The reference against each distorted image of those pairs, each image once. The reference is better.

    The paper counts an image as often as pairs hold it, and so does the authors' protocol; the test split has 40
    references with 15 distorted images.
    """

    id = "pieapp-iqa"
    task = "quality"
    size = 5000
    train_size = 50_500

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return one pair a distorted image."""
        choices = (
            (None, (reference, image)) for reference, *pair in self._judged(split) for image in sorted(pair)
        )
        return distinct(choices) if self.protocol == "paper" else list(choices)
