"""Image files below folders and behind globs, one after the other, in an order that people expect."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

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


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES | _FOREIGN_SUFFIXES


def is_image_file(path: Path) -> bool:
    """Whether a path is a file that is taken for an image; a link that leads nowhere is, for reading it tells so."""
    return is_image_name(path.name) and (path.is_file() or (path.is_symlink() and not path.exists()))


def list_entries(folder: Path) -> list[Path]:
    """Return what lies in a folder and is no hidden file."""
    return [
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name != _ARCHIVE_OF_MACOS
    ]


def walk_folders(top: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    """Yield a folder and those below it, each real folder once: links may lead in circles."""
    seen = set() if seen is None else seen
    real = top.resolve()
    if real in seen:
        return
    seen.add(real)
    yield top
    below = sorted((path for path in list_entries(top) if path.is_dir()), key=natural_key)
    # A folder goes by its own name where it has one here, not by that of a link to it.
    for path in sorted(below, key=lambda path: path.is_symlink()):
        yield from walk_folders(path, seen)


def match_glob(pattern: str) -> Iterable[Path]:
    """Yield what a glob matches; names that begin with a dot only where it spells them, linked folders once."""
    path = Path(pattern)
    return _matches(Path(path.anchor), path.relative_to(path.anchor).parts)


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the image files of a folder and those below it, folder by folder, each in natural order."""
    for each in walk_folders(folder):
        yield from sorted((path for path in list_entries(each) if is_image_file(path)), key=natural_key)


def _matches(folder: Path, parts: Sequence[str]) -> Iterable[Path]:
    """Yield what a glob matches below a folder; hidden files only where the glob spells them."""
    if not parts:
        yield folder
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        if not folder.is_dir():
            return
        for each in walk_folders(folder):
            yield from _matches(each, rest or ("*",))
    elif glob.has_magic(part):
        names = sorted(name for name in glob.glob(part, root_dir=folder) if name != _ARCHIVE_OF_MACOS)
        for name in names:
            yield from _matches(folder / name, rest)
    else:
        yield from _matches(folder / part, rest)
