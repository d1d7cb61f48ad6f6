"""What is judged: pairs of a candidate and what it is held against, and generators, a folder of images each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unisim_metrics.cli.image_files import folder_images
from unisim_metrics.cli.tables import Row, is_table, read_rows
from unisim_metrics.images.files import is_image_name
from unisim_metrics.text_files import read_text, split_lines

if TYPE_CHECKING:
    from unisim_metrics.tasks import Task

_TEXT_COLUMNS = ("text", "prompt")
_NAME_COLUMNS = ("image", "name", "id")


@dataclass(frozen=True)
class Pair:
    """A candidate and what it is held against: a `Path` is an image file, a `str` a text."""

    candidate: Path | str
    reference: Path | str | None = None

    @property
    def items(self) -> tuple[Path | str, ...]:
        """The candidate and, if there is one, the reference."""
        return (self.candidate,) if self.reference is None else (self.candidate, self.reference)

    def task(self, task: Task | None) -> Task:
        """Return what is asked of the pair: the task, or what the metrics infer if it is None.

        Raises:
            ValueError: If the pair does not fit the task, or fits none.
        """
        from unisim_metrics.tasks import resolve_task

        return resolve_task(task, self.candidate, self.reference, names=("candidates", "references"))

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
    text = next((name for name in ("caption", *_TEXT_COLUMNS) if name in columns), None)
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


@dataclass(frozen=True)
class Prompt:
    """A prompt that generators were given; `name` is the stem of the images made from it, if known."""

    text: str
    name: str | None = None


def read_prompts(path: Path) -> list[Prompt]:
    """Read prompts: a text file with one a line, or a CSV, TSV or JSONL with `text` and perhaps `name`.

    In a text file blank lines do not count, nor do blanks around a prompt.

    Raises:
        ValueError: If there is none, a row has no text, some rows have a name and others none, or two have the same.
        OSError: If the file cannot be read.
    """
    if is_table(str(path)):
        prompts = _read_table(path)
    else:
        prompts = [Prompt(line.strip()) for line in split_lines(read_text(path)) if line.strip()]
    if not prompts:
        raise ValueError(f"{path}: no prompts in it.")
    return prompts


def match_generators(folders: Sequence[Path], prompts: Sequence[Prompt]) -> list[list[Path]]:
    """Return, for each prompt, the image that each generator made from it.

    Where the prompts have names, images are found by their stem; otherwise the n-th image of each folder in
    natural order belongs to the n-th prompt.

    Args:
        folders: One folder a generator.
        prompts: What the generators were given, all with a name or none.

    Raises:
        ValueError: If a folder lacks an image, has two of a name, or holds a number of images other than that of the
            prompts.
    """
    listings = [folder_images(folder) for folder in folders]
    names = [prompt.name for prompt in prompts if prompt.name is not None]
    if not names:
        for folder, images in zip(folders, listings, strict=True):
            if len(images) != len(prompts):
                raise ValueError(
                    f"Folder {str(folder)!r} must hold one image a prompt, {len(prompts)}, but it holds {len(images)}."
                )
        return [list(images) for images in zip(*listings, strict=True)]
    columns = [_by_name(folder, images, names) for folder, images in zip(folders, listings, strict=True)]
    return [list(group) for group in zip(*columns, strict=True)]


def _by_name(folder: Path, images: Sequence[Path], names: Sequence[str]) -> list[Path]:
    """Return the image of each name.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found: dict[str, list[Path]] = {}
    for path in images:
        found.setdefault(path.stem, []).append(path)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"Folder {str(folder)!r} holds no image for {len(missing)} prompts, {missing[0]!r} first."
        )
    double = next((name for name in names if len(found[name]) > 1), None)
    if double is not None:
        both = " and ".join(path.name for path in found[double])
        raise ValueError(
            f"Folder {str(folder)!r} must hold one image for the prompt named {double!r}, but it holds {both}."
        )
    return [found[name][0] for name in names]


def _read_table(path: Path) -> list[Prompt]:
    rows = read_rows(path)
    columns = {name for row in rows for name in row.values}
    text = next((name for name in (*_TEXT_COLUMNS, "caption") if name in columns), _TEXT_COLUMNS[0])
    column = next((name for name in _NAME_COLUMNS if any(row.name(name) is not None for row in rows)), None)
    if column is None:
        return [Prompt(row.text(text)) for row in rows]
    names = [_stem(row, column) for row in rows]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{path}: {count} rows have the same {column!r}, {name!r}.")
    return [Prompt(row.text(text), name) for row, name in zip(rows, names, strict=True)]


def _stem(row: Row, column: str) -> str:
    """Return the name in a row, without folders and without the suffix of an image.

    Raises:
        ValueError: If there is none.
    """
    name = row.name(column)
    if name is None:
        raise ValueError(
            f"{row.file}: {row.place} has no {column!r}, but others have: name all prompts, or none."
        )
    file = Path(name)
    return file.stem if is_image_name(file.name) else file.name
