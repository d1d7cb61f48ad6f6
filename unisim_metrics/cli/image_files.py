"""Image files that paths, folders and globs name."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from unisim_metrics.cli.tables import OTHER_TABLE_SUFFIXES, TABLE_SUFFIXES

IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jpx"),
        *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
# Pillow reads these with a plugin only: they are tried, and named where they cannot be read.
_FOREIGN_SUFFIXES = frozenset([".heic", ".heif", ".hif", ".jxl"])
_ARCHIVE_OF_MACOS = "__MACOSX"


def natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Return a sort key that puts `2.png` before `10.png`; of `01.png` and `1.png` the first is first."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if odd % 2 else (1, part) for odd, part in enumerate(parts)], str(path)


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the image files that paths, folders (with their subfolders) and globs name.

    A folder holds what the glob `FOLDER/**/*` matches. In both, names that begin with a dot and `__MACOSX` are no
    input, and linked folders are followed, each real folder once. A path or a link that leads nowhere is kept: reading
    it will fail and say so.

    Args:
        arguments: What was typed.

    Raises:
        ValueError: If a folder or a glob holds no image, or a file is a table of a kind that is not read.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found += folder_images(path, recursive=True)
        elif glob.has_magic(argument) and not path.exists():
            matches = _matches(Path(path.anchor), path.relative_to(path.anchor).parts)
            images = sorted(filter(_is_image_file, dict.fromkeys(matches)), key=natural_key)
            if not images:
                raise ValueError(f"No image matches {argument!r}.")
            found += images
        elif path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
            raise ValueError(
                f"{path} is a table, where images are expected; `unisim score` takes one table alone."
            )
        elif path.suffix.lower() in OTHER_TABLE_SUFFIXES and path.is_file():
            raise ValueError(
                f"{path} is no image, and a table of pairs must be a {', '.join(sorted(TABLE_SUFFIXES))} file."
            )
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def folder_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder in natural order.

    Raises:
        ValueError: If there is none.
        OSError: If the folder cannot be read.
    """
    folders = _folders(folder) if recursive else [folder]
    images = sorted(
        (path for each in folders for path in _entries(each) if _is_image_file(path)), key=natural_key
    )
    if not images:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"Folder {str(folder)!r} holds no image file ({known}).")
    return images


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES | _FOREIGN_SUFFIXES


def _is_image_file(path: Path) -> bool:
    return is_image_name(path.name) and (path.is_file() or (path.is_symlink() and not path.exists()))


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder and is no hidden file."""
    return [
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name != _ARCHIVE_OF_MACOS
    ]


def _folders(top: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    """Yield a folder and those below it, each real folder once: links may lead in circles."""
    seen = set() if seen is None else seen
    real = top.resolve()
    if real in seen:
        return
    seen.add(real)
    yield top
    below = sorted((path for path in _entries(top) if path.is_dir()), key=natural_key)
    # A folder goes by its own name where it has one here, not by that of a link to it.
    for path in sorted(below, key=lambda path: path.is_symlink()):
        yield from _folders(path, seen)


def _matches(folder: Path, parts: Sequence[str]) -> Iterable[Path]:
    """Yield what a glob matches below a folder; hidden files only where the glob spells them."""
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        if not folder.is_dir():
            return
        for each in _folders(folder):
            yield from _matches(each, rest or ("*",))
    elif glob.has_magic(part):
        names = sorted(name for name in glob.glob(part, root_dir=folder) if name != _ARCHIVE_OF_MACOS)
        for name in names:
            yield from _matches(folder / name, rest)
    else:
        yield from _matches(folder / part, rest)
