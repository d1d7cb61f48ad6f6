"""One cell of a column: whatever a table, an archive or an engine holds an image or a text as, read or told why not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.errors import ImageReadError, errors_of_stores
from unisim_metrics.images import Preprocessing, decode_image, list_images, load_image, prepare_image
from unisim_metrics.images.decoding import pil_to_rgb, unreadable

REMOTE_PROTOCOLS = frozenset(
    ("abfs", "abfss", "az", "file", "gcs", "gs", "hf", "http", "https", "memory", "s3")
)
"""Where a cell may say that its image lies. A table is data: it starts no other code of fsspec's."""

_BYTES = (bytes, bytearray, memoryview)

ReadImage: TypeAlias = Tensor | Image.Image


@dataclass(frozen=True)
class Unreadable:
    """A cell that cannot be scored, and why."""

    reason: str


def is_single(value: Any) -> bool:
    """Whether it is one cell, rather than a column of them."""
    return isinstance(value, (str, *_BYTES, Mapping, Image.Image, os.PathLike, Unreadable)) or value is None


def list_cells(column: Any) -> list[Any]:
    """The cells of a column: a list, an array or tensor by its first axis, a column of pandas or `datasets`."""
    return list(column.unbind()) if isinstance(column, Tensor) else list(column)


def read_image(cell: Any, name: str, preparation: Preprocessing | None = None) -> ReadImage | Unreadable:
    """Decode an image on the calling thread.

    Args:
        cell: The bytes of an image file, `{"bytes": ..., "path": ...}`, a path, a URL that fsspec opens, a Pillow
            image, an array `[H, W]` or `[H, W, C]`, or a tensor `[C, H, W]`.
        name: What reasons call the cell.
        preparation: How the model wants the image: it is then resized and cropped, too, so that what waits is small.

    Returns:
        What the models take for the image, or why it cannot be read.
    """
    if isinstance(cell, Unreadable):
        return cell
    try:
        image = _decode(cell, name)
        is_prepared = preparation is None or (isinstance(image, Tensor) and not _is_decoded(image))
        return image if is_prepared else prepare_image(image, preparation)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        return Unreadable(str(error))


def read_text(cell: Any, name: str) -> str | Unreadable:
    """Return a text, which may come as the bytes of a file in UTF-8, or why there is none."""
    if isinstance(cell, Unreadable):
        return cell
    if isinstance(cell, _BYTES):
        try:
            cell = bytes(cell).decode("utf-8")
        except UnicodeDecodeError as error:
            return Unreadable(f"Column `{name}` must hold texts in UTF-8, but byte {error.start} is of none.")
    if not isinstance(cell, str):
        return Unreadable(f"Column `{name}` must hold texts, but got {_type_name(cell)}.")
    return str(cell) if cell.strip() else Unreadable(f"Column `{name}` must hold texts, but one is blank.")


def _decode(cell: Any, name: str) -> ReadImage:
    if isinstance(cell, Mapping):
        data, path = cell.get("bytes"), cell.get("path")
        if data is None and path is None:
            raise ValueError(
                f"Column `{name}` must hold images, but one has neither 'bytes' nor 'path': {sorted(cell)}."
            )
        if data is None:
            return _decode(path, name)
        return _decode_file(data, path) if path else decode_image(bytes(data), name)
    if isinstance(cell, _BYTES):
        return decode_image(bytes(cell), name)
    if isinstance(cell, str) and "://" in cell:
        return _decode_file(_fetch(cell, name), cell)
    if isinstance(cell, str | os.PathLike):
        return load_image(cell)
    if isinstance(cell, Image.Image):
        return pil_to_rgb(cell, name)
    if isinstance(cell, np.ndarray | Tensor):
        # Of two axes an array is grey; for a tensor of two the check names what to do.
        images = list_images(cell, name)
        if len(images) != 1 or cell.ndim == 4:
            raise ValueError(f"Column `{name}` must hold one image a row, but got shape {tuple(cell.shape)}.")
        return images[0]  # type: ignore[return-value]
    raise TypeError(
        f"Column `{name}` must hold images (encoded bytes, {{'bytes', 'path'}}, paths, URLs, Pillow images, arrays),"
        f" but got {_type_name(cell)}."
    )


def _decode_file(data: bytes | bytearray | memoryview, name: str) -> Tensor:
    """Decode the bytes of a file whose name is known, and which messages name."""
    try:
        return decode_image(bytes(data), name)
    except ImageReadError as error:
        raise unreadable(name, error.__cause__ or error) from error


def _fetch(url: str, name: str) -> bytes:
    """The bytes behind a URL. Whatever a store says of why not is the reason."""
    import fsspec

    protocol = url.partition("://")[0]
    if protocol not in REMOTE_PROTOCOLS or "::" in url:
        raise ValueError(
            f"Column `{name}` must hold URLs of {', '.join(sorted(REMOTE_PROTOCOLS))}, and no chain of them, but got"
            f" {url!r}."
        )
    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read()
    except errors_of_stores(OSError, ValueError, ImportError, RuntimeError, asyncio.TimeoutError) as error:
        raise unreadable(url, error) from error
    return content


def _is_decoded(image: Tensor) -> bool:
    """Whether it is what a decoder makes of a file."""
    return image.dtype == torch.uint8 and image.device.type == "cpu" and image.shape[0] == 3


def _type_name(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__module__}.{type(value).__qualname__}"
