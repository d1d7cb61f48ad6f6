"""What the commands are given: images, folders, globs, tables of pairs, prompts, folders of generators."""

from __future__ import annotations

import csv
import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
)
TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".jsonl"))
_TEXT_COLUMNS = ("text", "prompt")
_NAME_COLUMNS = ("image", "name", "id")


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


@dataclass(frozen=True)
class Prompt:
    """A prompt that generators were given; `name` is the stem of the images made from it, if known."""

    text: str
    name: str | None = None


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Return a sort key that puts `2.png` before `10.png`."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", str(path))]


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the image files that paths, folders (with their subfolders) and globs name.

    A path that does not exist is kept: reading it will fail and say so.

    Args:
        arguments: What was typed.

    Raises:
        ValueError: If a folder or a glob holds no image.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            images = folder_images(path, recursive=True)
        elif glob.has_magic(argument) and not path.exists():
            matches = (Path(match) for match in glob.iglob(argument, recursive=True))
            images = sorted((match for match in matches if _is_image_file(match)), key=natural_key)
            if not images:
                raise ValueError(f"No image matches {argument!r}.")
        else:
            images = [path]
        found += images
    return list(dict.fromkeys(found))


def folder_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder in natural order.

    Raises:
        ValueError: If there is none.
    """
    images = sorted(
        filter(_is_image_file, folder.rglob("*") if recursive else folder.iterdir()), key=natural_key
    )
    if not images:
        raise ValueError(f"Folder {str(folder)!r} holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    return images


def is_table(argument: str) -> bool:
    """Whether an argument names a table of pairs."""
    return Path(argument).suffix.lower() in TABLE_SUFFIXES


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
    """
    rows = list(_read_rows(table))
    if not rows:
        raise ValueError(f"{table}: no pairs in it.")
    columns = {name for row in rows for name in row}
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
            f" ({task or 'task inferred'}), but got {', '.join(sorted(columns))}."
        )
    return [
        Pair(
            _cell(table, number, row, candidate),
            _cell(table, number, row, reference) if reference is not None else None,
        )
        for number, row in enumerate(rows, start=1)
    ]


def read_prompts(path: Path) -> list[Prompt]:
    """Read prompts: a text file with one a line, or a CSV, TSV or JSONL with `text` and perhaps `name`.

    Raises:
        ValueError: If there is none, or a row has no text.
    """
    if not is_table(str(path)):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        prompts = [Prompt(line.strip()) for line in lines if line.strip()]
    else:
        prompts = []
        for number, row in enumerate(_read_rows(path), start=1):
            text = next((row[name] for name in (*_TEXT_COLUMNS, "caption") if row.get(name)), None)
            if text is None:
                raise ValueError(f"{path}: row {number} has no 'text'.")
            name = next((str(row[name]) for name in _NAME_COLUMNS if row.get(name)), None)
            prompts.append(Prompt(text, Path(name).stem if name is not None else None))
    if not prompts:
        raise ValueError(f"{path}: no prompts in it.")
    return prompts


def match_generators(folders: Sequence[Path], prompts: Sequence[Prompt]) -> list[list[Path]]:
    """Return, for each prompt, the image that each generator made from it.

    Where the prompts have names, images are found by their stem; otherwise the n-th image of each folder in
    natural order belongs to the n-th prompt.

    Args:
        folders: One folder a generator.
        prompts: What the generators were given.

    Raises:
        ValueError: If a folder lacks an image, or holds a number of images other than that of the prompts.
    """
    listings = [folder_images(folder) for folder in folders]
    names = [prompt.name for prompt in prompts]
    if None in names:
        for folder, images in zip(folders, listings, strict=True):
            if len(images) != len(prompts):
                raise ValueError(
                    f"Folder {str(folder)!r} must hold one image a prompt, {len(prompts)}, but it holds {len(images)}."
                )
        return [list(images) for images in zip(*listings, strict=True)]
    by_stem = [{path.stem: path for path in images} for images in listings]
    for folder, images_by_stem in zip(folders, by_stem, strict=True):
        missing = [name for name in names if name not in images_by_stem]
        if missing:
            raise ValueError(
                f"Folder {str(folder)!r} holds no image for {len(missing)} prompts, {missing[0]!r} first."
            )
    return [[images[str(name)] for images in by_stem] for name in names]


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _cell(table: Path, number: int, row: Mapping[str, str], column: str) -> Path | str:
    value = row.get(column)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{table}: row {number} has no {column!r}.")
    return table.parent / value if column in ("image", "reference") else value


def _read_rows(table: Path) -> Iterator[dict[str, str]]:
    with open(table, newline="", encoding="utf-8-sig") as file:
        if table.suffix.lower() != ".jsonl":
            for row in csv.DictReader(file, delimiter="\t" if table.suffix.lower() == ".tsv" else ","):
                yield {
                    name.strip().lower(): value for name, value in row.items() if name and value is not None
                }
            return
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{table}: line {number} is not JSON ({error.msg}).") from error
                if not isinstance(row, dict):
                    raise ValueError(f"{table}: line {number} is not a JSON object.")
                yield row
