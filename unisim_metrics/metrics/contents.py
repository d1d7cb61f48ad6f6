"""What an image or a text holds, in a few bytes that can be compared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.images.decoding import pil_to_rgb, unreadable
from unisim_metrics.tasks import Modality

__all__ = ["content_of", "hash_file"]


def content_of(item: Any, modality: Modality) -> tuple[str, ...]:
    """Return what tells the content of one item, or of a batch in a tensor: equal where all pixels or letters are.

    Args:
        item: A text, or an image of any kind.
        modality: Which of the two it is: a `str` may be a text or a path.

    Raises:
        ImageReadError: If an image cannot be read.
        ValueError: If an image is of a kind that cannot be scored.
    """
    if modality == "text":
        return ("text", str(item))
    if isinstance(item, str | os.PathLike):
        return ("file", hash_file(item))
    if isinstance(item, Image.Image):
        return ("image", *_hash_pixels(_pixels(item)))
    if isinstance(item, Tensor):
        # NumPy knows no bfloat16: bytes do for all types.
        flat = item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return ("tensor", str(item.dtype), str(tuple(item.shape)), *_hash_pixels(flat))
    array = np.ascontiguousarray(item)
    return ("array", str(array.dtype), *_hash_pixels(array))


def hash_file(path: str | os.PathLike[str]) -> str:
    """SHA-256, in hex, of a file.

    Raises:
        ImageReadError: If it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def _pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    """The pixels as a model gets them: upright, RGB, on white."""
    try:
        return np.asarray(pil_to_rgb(image))
    except OSError as error:
        raise unreadable(getattr(image, "filename", "") or "<Pillow image>", error) from error


def _hash_pixels(array: np.ndarray[Any, Any]) -> tuple[str, str]:
    return str(array.shape), hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
