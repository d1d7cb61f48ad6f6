"""Pairs of a candidate and what it is held against, and the tables that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unisim_metrics.cli.tables import Row, read_rows

TEXT_COLUMNS = ("text", "prompt")


@dataclass(frozen=True)
class Pair:
    """A candidate and what it is held against: a `Path` is an image file, a `str` a text."""

    candidate: Path | str
    reference: Path | str | None = None

    def columns(self) -> dict[str, str]:
        """Return the pair as named columns, as a table of pairs would hold it."""
        if isinstance(self.candidate, str):
            return {"caption": self.candidate, "reference": str(self.reference)}
        if self.reference is None:
            return {"image": str(self.candidate)}
        column = "text" if isinstance(self.reference, str) else "reference"
        return {"image": str(self.candidate), column: str(self.reference)}


def read_pairs(table: Path, task: str | None = None) -> list[Pair]:
    """Read pairs from a CSV, TSV or JSONL file; image paths are relative to its folder.

    Columns: `image` alone; `image` and `text` (or `prompt`); `image` and `reference` (an image); `caption` and
    `image` or `reference`, where the captions are judged.

    Args:
        table: The file.
        task: Decides where the columns allow several: `image-image` and `image-text` with all three columns,
            `caption` with images and texts; other tasks take the images alone.

    Raises:
        ValueError: If the columns or a row do not make pairs.
        OSError: If the file cannot be read.
    """
    rows = read_rows(table)
    if not rows:
        raise ValueError(f"{table}: no pairs in it.")
    columns = {name for row in rows for name in row.values}
    text = next((name for name in ("caption", *TEXT_COLUMNS) if name in columns), None)
    image = "image" if "image" in columns else "reference"
    candidate: str | None
    reference: str | None
    if task == "caption" or (
        task is None and text is not None and (text == "caption" or image == "reference")
    ):
        candidate, reference = text, image
    elif task == "image-image" or (task is None and text is None and "reference" in columns):
        candidate, reference = "image", "reference"
    elif task == "image-text" or (task is None and text is not None):
        candidate, reference = "image", text
    else:
        candidate, reference = "image", None
    if candidate is None or candidate not in columns or (reference is not None and reference not in columns):
        raise ValueError(
            f"{table}: the columns must be image, image and text, image and reference, or caption and reference"
            f" ({task or 'task inferred'}), but got {', '.join(sorted(filter(None, columns)))}."
        )
    return [Pair(_item(row, candidate), None if reference is None else _item(row, reference)) for row in rows]


def _item(row: Row, column: str) -> Path | str:
    return row.path(column) if column in ("image", "reference") else row.text(column)
