"""Image files that the arguments of a command name: paths, folders and globs."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from unisim_metrics.cli.tables import OTHER_TABLE_SUFFIXES, TABLE_SUFFIXES
from unisim_metrics.images.files import (
    IMAGE_SUFFIXES,
    is_image_file,
    list_entries,
    match_glob,
    natural_key,
    walk_folders,
)


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
            images = sorted(filter(is_image_file, dict.fromkeys(match_glob(argument))), key=natural_key)
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
    folders = walk_folders(folder) if recursive else [folder]
    images = sorted(
        (path for each in folders for path in list_entries(each) if is_image_file(path)), key=natural_key
    )
    if not images:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"Folder {str(folder)!r} holds no image file ({known}).")
    return images
