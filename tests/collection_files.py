"""Encoded images for collections, and what engines are handed them in."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from oracle import TEXTS, photos
from PIL import Image

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
