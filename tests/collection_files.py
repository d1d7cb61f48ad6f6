"""Encoded images for collections, and what engines are handed them in."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from oracle import TEXTS, photos
from PIL import Image

from unisim_metrics.collections.attempts import Attempts

BROKEN = b"\xff\xd8\xff\xe0 no jpeg"


def encode(image: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def encoded(count: int, seed: int = 0, broken: Sequence[int] = ()) -> list[bytes]:
    """So many image files, of which these cannot be read."""
    files = [encode(photo) for photo in photos(count, seed)]
    for place in broken:
        files[place] = BROKEN
    return files


def texts(count: int) -> list[str]:
    """So many texts."""
    return [TEXTS[place % len(TEXTS)] for place in range(count)]


def write_folder(folder: Path, files: Sequence[bytes]) -> Path:
    """Write image files under their numbers into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(files):
        (folder / f"{number}.png").write_bytes(content)
    return folder


def write_archive(path: Path, members: Sequence[tuple[str, bytes]], mode: str = "w") -> Path:
    """Write members by name into an archive."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def leave_mark(attempts: Attempts, size: int = 4, asked: int = 0, done: int = 0) -> None:
    """Leave the mark of a process that dies when it has asked for so many batches, and done so many rows."""
    attempt = attempts.begin()
    for _ in range(asked):
        next(attempt.watch(iter([None]), size))
    attempt.finish(done)
    attempt._mark._file.close()  # type: ignore[attr-defined]  # as the system does
