"""Files of a collection on this machine, or behind the URLs of fsspec."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from unisim_metrics.images.files import match_glob, natural_key

# The notation of WebDataset: photos-{000..099}.tar.
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_url(name: str) -> bool:
    """Whether a name is opened by fsspec."""
    return "://" in name


def expand_ranges(name: str) -> Iterator[str]:
    """Yield the names that a range of numbers in braces stands for, `{000..099}`; any other name itself."""
    found = _RANGE.search(name)
    if found is None:
        yield name
        return
    width = len(found[1])
    for number in range(int(found[1]), int(found[2]) + 1):
        yield from expand_ranges(name[: found.start()] + f"{number:0{width}}" + name[found.end() :])


def match(pattern: str) -> Iterator[str]:
    """Yield the files that a glob names, each once, in an order that is the same every time."""
    if is_url(pattern):
        import fsspec

        system, path = fsspec.core.url_to_fs(pattern)
        for found in sorted(map(str, system.glob(path)), key=lambda name: natural_key(Path(name))):
            yield str(system.unstrip_protocol(found))
        return
    matched = map(str, match_glob(pattern))
    # One `**` meets each file once; what several of them meet has to be remembered.
    yield from matched if pattern.count("**") < 2 else dict.fromkeys(matched)


def has_magic(name: str) -> bool:
    """Whether a name is a glob, and no file that is called so."""
    return glob.has_magic(name) and (is_url(name) or not Path(name).exists())


def open_file(name: str) -> IO[bytes]:
    """Open a file to read its bytes.

    Raises:
        OSError: If it cannot be opened.
    """
    if not is_url(name):
        return open(name, "rb")
    import fsspec

    with _naming(name):
        file: Any = fsspec.open(name, "rb").open()
    return file  # type: ignore[no-any-return]


def size_of(name: str) -> int:
    """How many bytes a file has.

    Raises:
        OSError: If there is none of this name.
    """
    if not is_url(name):
        return os.path.getsize(name)
    import fsspec

    with _naming(name):
        system, path = fsspec.core.url_to_fs(name)
        return int(system.size(path) or 0)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say what is wrong with a file that is not there: stores say its name alone."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error


def beside(name: str, path: str) -> str:
    """A path that a table names, relative to the table's folder."""
    if is_url(path) or os.path.isabs(path):
        return path
    folder = name.rpartition("/")[0] if is_url(name) else os.path.dirname(name)
    return f"{folder}/{path}" if folder else path


def refuse_to_guess(name: str, error: BaseException) -> None:
    """Raise an error of reading a file again, unless it tells that the file is damaged.

    What is damaged stays so, and a shard may say so for good; a store that does not answer may do so the next time.

    Args:
        name: The file.
        error: What reading it raised.
    """
    if isinstance(error, OSError) and is_url(name):
        raise error
