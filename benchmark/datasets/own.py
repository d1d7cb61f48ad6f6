"""A set of one's own, as one file: JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from unisim_metrics.tasks import TASKS, Modality, Task, modalities
from unisim_metrics.text_files import write_text

from ..samples import Candidate, Item, Sample
from .annotations import Entry, read_json_lines, read_parquet
from .base import PooledDataset, Split

_COLUMNS = ("task", "reference", "alternatives", "label")


class OwnSamples(PooledDataset):
    """Samples written down one a line or row, all of the same task.

    One line, broken here to be read:

        {"task": "image-text", "reference": {"text": "a red ball"},
         "alternatives": [{"image": "a.png"}, {"image": "b.png"}], "label": 0}

    Images are named relative to the data root; `reference` is null for tasks without one; `label` is the index of the
    right alternative. `"split": "train"` marks samples to train on. The alternatives are put in another order, as
    those of any set: so a file may name the right one first throughout.

    A Parquet file has these fields as columns (and needs `pyarrow`): `reference` is a struct of `image` or `text`,
    `alternatives` a list of such structs.

    Args:
        path: The file; one whose name ends in `.parquet` is Parquet. Its name without the suffix becomes the set's id.
        root: The folder that the images are named from.

    Raises:
        AnnotationError: If a line or row does not hold that. The message names it.
    """

    citation = "none"
    licence = "the user's own"

    def __init__(self, path: Path, root: str | Path) -> None:
        super().__init__(root)
        self.id = path.stem
        self.url = str(path)
        self._choices: dict[Split, list[Candidate]] = {"test": [], "train": []}
        task: str | None = None
        for entry in _read(path):
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


def write_json_lines(
    path: Path, samples: Iterable[Sample], task: Task, root: Path, split: Split = "test"
) -> None:
    """Write samples as `OwnSamples` reads them.

    Args:
        path: The file, `.jsonl`.
        samples: The samples.
        task: Their task.
        root: The data root, under which the images lie.
        split: What they are for.

    Raises:
        ValueError: If an image does not lie under the root.
    """

    def record(item: Item) -> dict[str, str]:
        return {"image": item.relative_to(root).as_posix()} if isinstance(item, Path) else {"text": item}

    lines = []
    for sample in samples:
        fields: dict[str, Any] = {"task": task, "split": split, "reference": None, "label": sample.label}
        if sample.reference is not None:
            fields["reference"] = record(sample.reference)
        fields["alternatives"] = [record(item) for item in sample.alternatives]
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def _read(path: Path) -> Iterator[Entry]:
    return read_parquet(path, _COLUMNS) if path.suffix == ".parquet" else read_json_lines(path)
