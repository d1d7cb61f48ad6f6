"""Generators of images, a folder each: the prompts that they were given, and the images that they made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unisim_metrics.cli.image_files import folder_images, is_image_name
from unisim_metrics.cli.pairs import TEXT_COLUMNS
from unisim_metrics.cli.tables import Row, is_table, read_rows
from unisim_metrics.text_files import read_text, split_lines

_NAME_COLUMNS = ("image", "name", "id")


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
    text = next((name for name in (*TEXT_COLUMNS, "caption") if name in columns), TEXT_COLUMNS[0])
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
