"""A set of one's own, as one file of JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from unisim_metrics.tasks import TASKS, Modality, Task, modalities

from ..samples import Candidate, Item
from .annotations import Entry, read_json_lines
from .base import PooledDataset, Split

__all__ = ["JsonLines"]


class JsonLines(PooledDataset):
    """Samples written down one a line, all of the same task.

    One line, broken here to be read:

        {"task": "image-text", "reference": {"text": "a red ball"},
         "alternatives": [{"image": "a.png"}, {"image": "b.png"}], "label": 0}

    Images are named relative to the data root; `reference` is null for tasks without one; `label` is the index of the
    right alternative. `"split": "train"` marks samples to train on. The alternatives are put in another order, as
    those of any set: so a file may name the right one first throughout.

    Args:
        path: The file. Its name without `.jsonl` becomes the set's id.
        root: The folder that the images are named from.

    Raises:
        AnnotationError: If a line does not hold that. The message names it.
    """

    citation = "none"
    licence = "the user's own"

    def __init__(self, path: Path, root: str | Path) -> None:
        super().__init__(root)
        self.id = path.stem
        self.url = str(path)
        self._choices: dict[Split, list[Candidate]] = {"test": [], "train": []}
        task: str | None = None
        for entry in read_json_lines(path):
            if entry.text("task") not in ((task,) if task else TASKS):
                entry.fail("task", f"{task!r}, as in the lines before" if task else f"one of {TASKS}")
            task = entry.text("task")
            split = entry.fields.get("split", "test")
            if split not in ("test", "train"):
                entry.fail("split", "'test' or 'train'")
            self._choices[split].append(self._choice(entry, cast(Task, task)))
        if task is None:
            raise Entry(path, "whole file", {}).error("at least one sample", "none")
        self.task = cast(Task, task)
        self.files = {split: () for split, choices in self._choices.items() if choices}
        self.images = self.files
        self.size = len(self._choices["test"])
        self.train_size = len(self._choices["train"]) or None

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return the samples of the file."""
        return self._choices[split]

    def _choice(self, entry: Entry, task: Task) -> Candidate:
        modality, of_reference = modalities(task)
        reference = None
        if of_reference is None:
            if entry.fields.get("reference") is not None:
                entry.fail("reference", f"null for task {task!r}")
        else:
            reference = self._item(entry.record("reference"), of_reference)
        records = entry.list("alternatives")
        wanted = 3 if task == "odd-one-out" else 2
        if len(records) < wanted or not all(isinstance(record, dict) for record in records):
            entry.fail("alternatives", f"a list of at least {wanted} records")
        places = (f"{entry.place}, alternative {number}" for number in range(len(records)))
        items = [
            self._item(Entry(entry.path, place, record), modality)
            for place, record in zip(places, records, strict=True)
        ]
        right = items.pop(entry.one_of("label", range(len(items))))
        return reference, (right, *items)

    def _item(self, entry: Entry, modality: Modality) -> Item:
        return self.root / entry.file("image") if modality == "image" else entry.text("text")
