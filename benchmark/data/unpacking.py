"""Unpacking an archive that somebody else made: only plain files, and only where they belong."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from unisim_metrics.errors import UniSimError

# Photos hardly shrink in an archive, tables perhaps to a tenth: what grows much more is there to fill the disk.
_MOST_GROWTH = 50
_ALWAYS_ALLOWED = 1 << 30
# What the smallest file takes on a disk.
_LEAST_FILE = 4096
_PIECE = 1 << 20

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")


# An archive that is encrypted, or whose links run in a circle, raises a RuntimeError.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    OverflowError,
    ValueError,
)


class ArchiveError(UniSimError, ValueError):
    """An archive is damaged, or holds what must not be unpacked. The message names both."""


def archive_stem(name: str) -> str | None:
    """Return the name of an archive without folder and ending, or None if it is no archive."""
    name = PurePosixPath(name).name
    return next((name[: -len(suffix)] for suffix in _SUFFIXES if name.endswith(suffix)), None)


def unpack(
    archive: Path,
    root: Path,
    place: Callable[[str], str] = lambda path: path,
    folders: Collection[str] | None = None,
) -> int:
    """Unpack an archive into the folder that it is named after, whether or not its files stand in one of that name.

    Links are followed inside the archive and never made; hidden files are left out.

    Args:
        archive: The archive.
        root: Where its files go.
        place: Gives each file's place under the root, from its path in that folder.
        folders: The folders under the root that files may go to; None for any.

    Returns:
        How many files were written.

    Raises:
        ArchiveError: If the archive is damaged, grows out of all proportion, or a file would lie elsewhere. What came
            before it is there.
    """
    stem = archive_stem(archive.name)
    if stem is None:
        raise ArchiveError(f"{archive} is no archive of the kinds {', '.join(_SUFFIXES)}.")
    count = 0
    left = max(_ALWAYS_ALLOWED, _MOST_GROWTH * archive.stat().st_size)
    try:
        for name, opened in _files(archive):
            parts = PurePosixPath(name).parts
            path = place(name if parts[0] == stem else f"{stem}/{name}")
            if leaves_root(name) or leaves_root(path):
                raise ArchiveError(f"{archive} holds {name!r}, whose place is not inside the data root.")
            if any(part.startswith(".") or part == "__MACOSX" for part in parts):
                continue
            if folders is not None and path.split("/")[0] not in folders:
                allowed = ", ".join(sorted(folders))
                raise ArchiveError(f"{archive} holds {name!r}, whose place is not under {allowed}.")
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened as source, open(target, "wb") as copy:
                left -= max(_LEAST_FILE, _copy(source, copy, left))
            if left < 0:
                raise ArchiveError(f"{archive} holds more than {_MOST_GROWTH} times its own size.")
            count += 1
    except ArchiveError:
        raise
    except _DAMAGE as error:
        raise ArchiveError(f"{archive} is damaged: {error}.") from error
    return count


def _copy(source: IO[bytes], copy: IO[bytes], most: int) -> int:
    """Copy a file and return its size; not much more than `most` bytes are written."""
    size = 0
    while size <= most and (piece := source.read(_PIECE)):
        copy.write(piece)
        size += len(piece)
    return size


def _files(archive: Path) -> Iterator[tuple[str, AbstractContextManager[IO[bytes]]]]:
    """Yield the path and the content of each file."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as content:
            for entry in content.infolist():
                if entry.is_dir():
                    continue
                try:
                    member_file = content.open(entry)
                except OSError as error:  # the directory names a place that no file has
                    raise ArchiveError(f"{archive} is damaged: {error}.") from error
                yield entry.filename, member_file
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            try:
                opened = tar.extractfile(member)
            except KeyError as error:
                raise ArchiveError(f"{archive} holds {member.name!r}, a link that leaves it.") from error
            if opened is None:
                raise ArchiveError(f"{archive} holds {member.name!r}, which is no file.")
            yield str(PurePosixPath(member.name)), opened


def leaves_root(path: str) -> bool:
    """Whether a path that somebody else wrote may lead out of the folder that it is joined to."""
    parts = PurePosixPath(path).parts
    return (
        path.startswith("/")
        or ".." in parts
        or "\\" in path
        or "\0" in path
        or bool(PureWindowsPath(path).drive)
    )
