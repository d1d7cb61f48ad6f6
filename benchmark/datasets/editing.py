"""MagicBrush and HQ-Edit: editing instructions and descriptions, with the images before and after.

Both are read as one list of records whose `image` names the source and the edited image, whose `conversations`
hold the instruction as second turn, and whose `metadata.dataset` tells a record's kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..samples import Candidate
from .annotations import Entry, read_json
from .base import PooledDataset, Split, both, splits
from .hub_files import authors_archive


class MagicBrush(PooledDataset):
    """The instruction as a description of the edited image, which is right, against the source image.

    Image names are written as `MagicBrush/<folder>/<file>`; the files lie in `MagicBrush/train` and `MagicBrush/test`.
    """

    id = "magicbrush"
    task = "image-text"
    size = 693
    train_size = 11_500
    files = splits(test=("MagicBrush/test.json",), train=("MagicBrush/train.json",))
    images = splits(test=("MagicBrush/test",), train=("MagicBrush/train",))
    hub = splits(test=authors_archive("MagicBrush.tar", {"MagicBrush/images_val/": "MagicBrush/test/"}))
    licence = "CC-BY-4.0"
    citation = "Zhang et al. (2023), MagicBrush, arXiv 2306.10012"
    url = "https://osu-nlp-group.github.io/MagicBrush/"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return one choice a record of two images; longer chains of edits are left out."""
        candidates: list[Candidate] = []
        for record in read_json(self.path(f"MagicBrush/{split}.json")):
            if (
                record.record("metadata").text("dataset") == "MagicBrush-Diff"
                or len(record.list("image")) > 2
            ):
                continue
            source, edited = (self._locate(record, name, split) for name in _two_images(record))
            candidates.append((_instruction(record), (edited, source)))
        return candidates

    def _locate(self, record: Entry, name: str, split: Split) -> Path:
        parts = name.split("/")
        if len(parts) < 3:
            record.fail("image", "two paths of the form MagicBrush/<folder>/<file>")
        return self.root.joinpath(parts[0], split, *parts[2:])


class _HQEdit(PooledDataset):
    size = 2000
    train_size = 100_000
    files = splits(test=("HQ-Edit/test.json",), train=("HQ-Edit/train.json",))
    images = both("HQ-Edit")
    hub = splits(test=authors_archive("HQ-Edit.tar"))
    licence = "CC-BY-NC-4.0"
    citation = "Hui et al. (2024), HQ-Edit, arXiv 2404.09990"
    url = "https://thefllood.github.io/HQEdit_web/"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return two choices a record: the source's and the edited image's."""
        candidates: list[Candidate] = []
        for record in read_json(self.path(f"HQ-Edit/{split}.json")):
            if record.record("metadata").text("dataset") != "HQ-Edit-Diff":
                images = [self.root / name for name in _two_images(record)]
                texts = [record.text("input"), record.text("output")]
                first, second = (images, texts) if self.task == "caption" else (texts, images)
                candidates += ((first[side], (second[side], second[1 - side])) for side in (0, 1))
        return candidates


class HQEditImages(_HQEdit):
    """Each of the two descriptions of a record against its two images. Images are named from the data root."""

    id = "hq-edit-images"
    task = "image-text"


class HQEditCaptions(_HQEdit):
    """Each of the two images of a record against its two descriptions. Images are named from the data root."""

    id = "hq-edit-captions"
    task = "caption"


def _two_images(record: Entry) -> Sequence[str]:
    names = record.files("image")
    if len(names) != 2:
        record.fail("image", "a list of two image paths")
    return names


def _instruction(record: Entry) -> str:
    turns = record.list("conversations")
    if len(turns) < 2 or not isinstance(turns[1], dict):
        record.fail("conversations", "a list of two records, the second with the instruction")
    return Entry(record.path, f"{record.place}, 'conversations'", turns[1]).text("value")
