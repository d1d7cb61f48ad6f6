"""Polaris: a person's caption of an image against a machine's that people found poor."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from ..samples import Candidate
from .annotations import Entry, read_csv
from .base import PooledDataset, Split, both, splits
from .hub_files import authors_archive
from .pairs import distinct

MAX_SCORE = 0.5
COLUMNS = ("image", "references", "candidate", "score")


class Polaris(PooledDataset):
    """Each reference caption against the candidate, where people gave that at most one half; official splits.

    The columns are read by position, whatever the first line calls them: the image's file name, its reference captions
    as a Python list, the candidate, and people's score of it. A candidate that repeats a reference is left out. What
    several lines hold counts once; by the authors' protocol as often as it stands there.
    """

    id = "polaris"
    task = "caption"
    size = 5000
    train_size = 245_900
    files = splits(test=("polaris/polaris_test.csv",), train=("polaris/polaris_train.csv",))
    images = both("polaris/images")
    hub = splits(test=authors_archive("polaris.tar"))
    citation = "Wada et al. (2024), Polos, arXiv 2402.18091"
    url = "https://yuiga.dev/polos/"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return one choice a reference caption."""
        choices = self._choices(split)
        return distinct(choices) if self.protocol == "paper" else list(choices)

    def _choices(self, split: Split) -> Iterator[Candidate]:
        folder = self.root / "polaris" / "images"
        for row in read_csv(self.path(f"polaris/polaris_{split}.csv"), COLUMNS, named=False):
            if row.number("score") > MAX_SCORE:
                continue
            references, candidate = _references(row), row.text("candidate")
            if _plain(candidate) not in map(_plain, references):
                image = folder / row.file("image")
                yield from ((image, (reference, candidate)) for reference in references)


def _references(row: Entry) -> list[str]:
    try:
        references = ast.literal_eval(row.text("references"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        references = None
    if not isinstance(references, list) or not all(isinstance(text, str) and text for text in references):
        row.fail("references", "a Python list of texts")
    return references


def _plain(text: str) -> str:
    return text.lower().replace(".", "").replace("\n", "")
