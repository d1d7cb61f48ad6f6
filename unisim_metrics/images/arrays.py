"""NumPy images, with the channels last as Pillow, scikit-image and OpenCV have them, as tensors."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

__all__ = ["ArrayImage", "is_pixel_array", "tensor_of_array"]

ArrayImage: TypeAlias = np.ndarray[Any, Any]

_FLOATS = ("float16", "float32", "float64")
_CHANNELS = (1, 3, 4)


def is_pixel_array(value: object) -> bool:
    """Whether it is an array of numbers, rather than of strings or objects."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biufc"


def tensor_of_array(array: ArrayImage, name: str) -> Tensor:
    """One NumPy image, or a batch of them, as a tensor.

    The tensor shares the array's memory where it can. Arrays are read with their channels last; those with the
    channels first are refused rather than guessed at.

    Args:
        array: ``[H, W]`` (grey), ``[H, W, C]`` or ``[N, H, W, C]`` with 1, 3 or 4 channels; uint8 in 0–255 or float
            in 0–1.
        name: What messages call the array.

    Returns:
        ``[C, H, W]`` or ``[N, C, H, W]``, uint8 or float; the values of floats are not checked.

    Raises:
        TypeError: If the array is neither uint8 nor float, or masked.
        ValueError: If it has another shape, or no pixels.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"Argument `{name}` must not be a masked array: fill it with `.filled(255)` first.")
    dtype = array.dtype.newbyteorder("=")
    if dtype != np.uint8 and dtype.name not in _FLOATS:
        raise TypeError(
            f"Argument `{name}` must hold uint8 pixels in 0–255 or float pixels in 0–1, but got an array of"
            f" {array.dtype}{_hint_on_type(dtype)}."
        )
    _check_shape(array.shape, name)
    # Torch wants memory that it may write to, in the machine's order of bytes, with strides that run forwards.
    usable = array.dtype.isnative and array.flags.writeable and min(array.strides) >= 0
    # A plain ndarray: subclasses such as `matrix` have ways of their own.
    plain = np.asarray(array) if usable else np.array(array, dtype=dtype, subok=False)
    tensor = torch.from_numpy(plain)
    return tensor.unsqueeze(0) if tensor.ndim == 2 else tensor.movedim(-1, -3)


def _hint_on_type(dtype: np.dtype[Any]) -> str:
    if dtype == np.uint16:
        return ": `(array >> 8).astype(numpy.uint8)` keeps the high bytes"
    if dtype.kind == "b":
        return ": pass `array.astype(numpy.uint8) * 255`"
    if dtype.kind in "iu":
        return ": if its values are 0–255, pass `array.astype(numpy.uint8)`"
    return ": pass `array.astype(numpy.float32)`" if dtype.kind == "f" else ""


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) not in (2, 3, 4):
        raise ValueError(
            f"Argument `{name}` must be an array of shape [H, W], [H, W, C] or [N, H, W, C], but got {shape}."
        )
    if len(shape) == 4 and not shape[0]:
        raise ValueError(f"Argument `{name}` must hold at least one image, but got an empty batch {shape}.")
    if 0 in shape:
        raise ValueError(f"Argument `{name}` must have pixels, but got an array of shape {shape}.")
    if len(shape) > 2 and shape[-1] not in _CHANNELS:
        hint = ""
        if shape[-3] in _CHANNELS:
            order = "1, 2, 0" if len(shape) == 3 else "0, 2, 3, 1"
            hint = f"; the channels of an array come last: `.transpose({order})`"
        raise ValueError(
            f"Argument `{name}` must be an array whose last dimension are 1, 3 or 4 channels, but got shape"
            f" {shape}{hint}."
        )
