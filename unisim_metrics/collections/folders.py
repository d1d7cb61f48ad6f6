"""The folder that a job writes to: on a disk, or in an object store behind a URL of fsspec.

Both give a file its name when all of it is there. On a disk a file is written beside its place and then moves; a store
has no moves, but makes an object visible when its last byte has come.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from unisim_metrics.collections.stores import is_url
from unisim_metrics.text_files import write_text

_LOCK, _TORN = ".unisim.lock", ".torn"

OWN = ".unisim"
"""What the names begin with of all that a job keeps for itself."""

WORK = f"{OWN}-work"
"""Where marks of shards in work stand, in the folder of the output."""

# The scheme of URLs of a disk, which has moves.
_DISK = ("file://", "local://")
# A mark in a store is written anew after so many rows.
_ROWS_OF_A_MARK = 2048


class Mark(Protocol):
    """A file that tells which rows are in work, for as long as they are."""

    def write(self, first: int, behind: int) -> None:
        """Note that rows from one up to another are in work; it may come to be known that more are."""

    def remove(self) -> None:
        """Take it away."""


class Folder(Protocol):
    """A folder whose files are there whole or not at all. It can be pickled, and means the same elsewhere."""

    @property
    def name(self) -> str:
        """Its path or URL."""

    @property
    def arrow(self) -> Any:
        """The file system of Arrow that `place` belongs to; None for that of the machine."""

    def place(self, name: str) -> str:
        """What a file is called there."""

    def within(self, name: str) -> Folder:
        """A folder in it."""

    def make(self) -> None:
        """Make it, if it is not there."""

    def names(self) -> list[str]:
        """What stands in it; nothing, if it is not there."""

    def read(self, name: str) -> bytes:
        """Return the content of a file; a `FileNotFoundError` if there is none."""

    def write(self, name: str, text: str) -> None:
        """Write a text in UTF-8 in the place of what was there."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def remove_if_empty(self) -> None:
        """Remove the folder, if nothing stands in it."""

    def mark(self, name: str) -> Mark:
        """Begin a mark."""

    def scratch(self) -> Path:
        """A file of this machine that is not there yet, for `take`; what is torn there `held` removes."""

    def take(self, file: Path, name: str) -> None:
        """Put such a file, which is complete, under a name. It may stay where it was."""

    def held(self) -> AbstractContextManager[None]:
        """Keep other jobs out; as a context, at whose begin what was torn is removed.

        Raises:
            BlockingIOError: If another job works there.
        """


def open_folder(name: str | os.PathLike[str]) -> Folder:
    """Return the folder of a path, or of a URL of any file system that fsspec knows."""
    text = os.fspath(name)
    for scheme in _DISK:
        if text.startswith(scheme):
            return _DiskFolder(Path(text.removeprefix(scheme)))
    return _StoreFolder(text.rstrip("/")) if is_url(text) else _DiskFolder(Path(text))


@dataclass(frozen=True)
class _DiskFolder:
    """A folder on a disk of this machine, or one that it shares.

    Attributes:
        path: Where it is.
    """

    path: Path
    arrow = None

    @property
    def name(self) -> str:
        return str(self.path)

    def place(self, name: str) -> str:
        return str(self.path / name)

    def within(self, name: str) -> _DiskFolder:
        return _DiskFolder(self.path / name)

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        return [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, text: str) -> None:
        write_text(self.path / name, text)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        with suppress(OSError):
            self.path.rmdir()

    def mark(self, name: str) -> Mark:
        return _FileMark(self.path / name)

    def scratch(self) -> Path:
        # In the same file system as its place: it moves in one step.
        return _scratch_file(self.path / WORK)

    def take(self, file: Path, name: str) -> None:
        _sync(file)
        os.replace(file, self.path / name)

    @contextmanager
    def held(self) -> Iterator[None]:
        with _locked(self.path, self.name):
            _remove_torn(self.path / WORK)
            for entry in self.path.glob(f"{OWN}-*"):
                if entry.is_file():
                    entry.unlink()
            yield


@dataclass(frozen=True)
class _StoreFolder:
    """Objects of a store whose names begin alike.

    Each is put by one call, and visible when that ends. A second job is kept out on this machine alone: of two that run
    on several, each does all, and what they write is the same.

    Attributes:
        url: What their names begin with.
        root: The folder that it stands in, of which this machine keeps the files that are not complete.
    """

    url: str
    root: str = ""

    @property
    def name(self) -> str:
        return self.url

    @property
    def arrow(self) -> Any:
        from pyarrow import fs

        return fs.PyFileSystem(fs.FSSpecHandler(self._open()[0]))

    def place(self, name: str) -> str:
        return f"{self._open()[1]}/{name}"

    def within(self, name: str) -> _StoreFolder:
        return _StoreFolder(f"{self.url}/{name}", self.root or self.url)

    def make(self) -> None:
        """A store has no folders."""

    def names(self) -> list[str]:
        system, path = self._open()
        system.invalidate_cache()  # others write there, too
        try:
            found = [str(entry).rstrip("/") for entry in system.ls(path, detail=False)]
        except FileNotFoundError:
            return []
        return [entry.rpartition("/")[2] for entry in found if entry != path]

    def read(self, name: str) -> bytes:
        content: bytes = self._open()[0].cat_file(self.place(name))
        return content

    def write(self, name: str, text: str) -> None:
        file = self.scratch()
        try:
            write_text(file, text)
            self.take(file, name)
        finally:
            file.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._open()[0].rm_file(self.place(name))

    def remove_if_empty(self) -> None:
        """A store has no folders."""

    def mark(self, name: str) -> Mark:
        return _StoredMark(self, name)

    def scratch(self) -> Path:
        return _scratch_file(self._local())

    def take(self, file: Path, name: str) -> None:
        self._open()[0].put_file(str(file), self.place(name))

    @contextmanager
    def held(self) -> Iterator[None]:
        local = self._local()
        with _locked(local, self.name):
            _remove_torn(local)
            yield

    def _open(self) -> tuple[Any, str]:
        """The file system, which fsspec keeps for each process, and the path in it."""
        import fsspec

        system, path = fsspec.core.url_to_fs(self.url)
        return system, str(path).rstrip("/")

    def _local(self) -> Path:
        """Where this machine keeps what is not complete."""
        user = os.getuid() if hasattr(os, "getuid") else ""
        name = hashlib.sha256(f"{user} {self.root or self.url}".encode()).hexdigest()[:32]
        folder = Path(tempfile.gettempdir()) / f"unisim-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.lstat().st_uid != user:
            raise PermissionError(f"{folder} must be a folder of this user, but is another's.")
        return folder


class _FileMark:
    """A mark that is written anew, in its place, each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("wb", buffering=0)

    def write(self, first: int, behind: int) -> None:
        # In one call, always as long: it is there whole or not at all.
        self._file.seek(0)
        self._file.write(f"{first:12} {behind:12}\n".encode())

    def remove(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class _StoredMark:
    """A mark of which each change is an object of its own: it tells ahead, and changes seldom."""

    def __init__(self, folder: _StoreFolder, name: str) -> None:
        self._folder, self._name = folder, name
        self._behind = -1

    def write(self, first: int, behind: int) -> None:
        if behind > self._behind:
            self._behind = behind + _ROWS_OF_A_MARK
            self._folder.write(self._name, f"{first} {self._behind}\n")

    def remove(self) -> None:
        self._folder.remove(self._name)


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    # The system lets go of it when the process ends, in whatever way.
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"Argument `output` must be a folder that no other job is writing to, but one works in {name} now."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _scratch_file(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder / f"{uuid.uuid4().hex}{_TORN}"


def _remove_torn(folder: Path) -> None:
    for torn in folder.glob(f"*{_TORN}"):
        torn.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: a name must not get there before its content."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
