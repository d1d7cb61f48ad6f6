"""What may be passed as images: types, shapes and pixel values, each checked with a message of its own."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.images.resizing import RANGE_SLACK

ArrayImage: TypeAlias = np.ndarray[Any, Any]
"""With the channels last, as Pillow, scikit-image and OpenCV have them."""
ImageInput: TypeAlias = Tensor | Image.Image | ArrayImage | str | os.PathLike[str]
Images: TypeAlias = ImageInput | Sequence[ImageInput]
CheckedImage: TypeAlias = Tensor | Image.Image | Path
"""An image of a valid type and shape, its path parsed. A tensor may be a batch."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_CHANNELS = (1, 3, 4)
_ARRAY_FLOATS = ("float16", "float32", "float64")


def is_image(value: object) -> bool:
    """Whether the type is an image's: a Pillow image, a path object, a tensor of 3 or 4 dimensions, an array of 2 to 4.

    A plain string is not: it may be a text. Where only images are expected a string is a path.
    """
    if isinstance(value, Tensor):
        return value.ndim in (3, 4)
    if isinstance(value, np.ndarray):
        return is_pixel_array(value) and value.ndim in (2, 3, 4)
    return isinstance(value, Image.Image | os.PathLike)


def count_images(images: Images) -> int:
    """How many images the argument holds, a batch counted by its length. Nothing is opened or checked."""
    if isinstance(images, list | tuple):
        return sum(count_images(image) for image in images)
    return len(images) if isinstance(images, Tensor | np.ndarray) and images.ndim == 4 else 1


def list_images(images: Images, argument: str = "images") -> list[Tensor | Image.Image | Path]:
    """Checks the images' types, shapes and sizes and lists them one by one.

    Args:
        images: One image, a batch, or a sequence of both. Strings are paths.
        argument: The name of the argument in messages.

    Returns:
        Tensors ``[C, H, W]`` (views of their batch or array), Pillow images and paths, in order. Pixel values are
        checked, and files opened, by ``preprocess``.

    Raises:
        TypeError: If an item is no image, or a tensor is neither uint8 nor float.
        ValueError: If there is no image, or one has the wrong number of dimensions or channels, or no pixels.
    """
    singles: list[Tensor | Image.Image | Path] = []
    for item in collect_images(images, argument):
        if isinstance(item, Tensor) and item.ndim == 4:
            singles.extend(item.unbind())
        else:
            singles.append(item)
    return singles


def collect_images(images: Images, argument: str) -> list[CheckedImage]:
    """The items of the argument, each checked by type and shape; batches stay whole."""
    if not isinstance(images, list | tuple):
        return [_check_item(images, argument)]
    if not images:
        raise ValueError(f"Argument `{argument}` must hold at least one image, but got none.")
    known: dict[int, CheckedImage] = {}  # an array that occurs several times becomes one tensor
    items: list[CheckedImage] = []
    for index, image in enumerate(images):
        item = known.get(id(image)) if isinstance(image, np.ndarray) else None
        if item is None:
            item = _check_item(image, f"{argument}[{index}]")
        if isinstance(image, np.ndarray):
            known[id(image)] = item
        items.append(item)
    return items


def _check_item(image: Any, name: str) -> CheckedImage:
    """One image or batch of a valid type and shape, a string turned into a path, an array into a tensor."""
    if isinstance(image, Tensor):
        _check_tensor(image, name)
        return image
    if isinstance(image, Image.Image):
        if not image.width or not image.height:
            raise ValueError(
                f"Argument `{name}` must have pixels, but got a Pillow image of size {image.size}."
            )
        return image
    if isinstance(image, str | os.PathLike):
        return Path(image)
    if isinstance(image, np.ndarray):
        return tensor_of_array(image, name)
    hint = ": a sequence of images must not be nested" if isinstance(image, list | tuple) else ""
    raise TypeError(
        f"Argument `{name}` must be a Pillow image, a path, a tensor, an array or a sequence of these, but got "
        f"{type(image).__module__}.{type(image).__qualname__}{hint}."
    )


def _check_tensor(image: Tensor, name: str) -> None:
    shape = tuple(image.shape)
    if image.dtype != torch.uint8 and image.dtype not in _FLOATS:
        raise TypeError(
            f"Argument `{name}` must hold uint8 pixels in 0–255 or float pixels in 0–1, but got {image.dtype}."
        )
    if image.ndim not in (3, 4):
        hint = "; add the channel with `.unsqueeze(0)`" if image.ndim == 2 else ""
        raise ValueError(
            f"Argument `{name}` must have shape [C, H, W] or [N, C, H, W], but got {shape}{hint}."
        )
    if image.ndim == 4 and not len(image):
        raise ValueError(f"Argument `{name}` must hold at least one image, but got an empty batch {shape}.")
    if 0 in shape:
        raise ValueError(f"Argument `{name}` must have pixels, but got a tensor of shape {shape}.")
    if shape[-3] not in _CHANNELS:
        hint = ""
        if shape[-1] in _CHANNELS:
            order = "2, 0, 1" if image.ndim == 3 else "0, 3, 1, 2"
            hint = f"; channels come before height and width: `.permute({order})`"
        raise ValueError(f"Argument `{name}` must have 1, 3 or 4 channels, but got shape {shape}{hint}.")


def check_values(tensors: list[Tensor], argument: str) -> None:
    """Checks all float pixels in one pass over them and one wait for each device."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.dtype != torch.uint8:
            ends = torch.stack(torch.aminmax(tensor.detach())).to(torch.float32)  # NaN in, NaN out
            by_device.setdefault(tensor.device, []).append(ends)
    for ends_of_device in by_device.values():
        lowest, highest = torch.stack(ends_of_device).unbind(1)
        low, high = torch.stack((lowest.amin(), highest.amax())).tolist()  # amin and amax keep NaN too
        if low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK:
            continue
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"Argument `{argument}` must hold finite pixels, but got NaN or infinite values."
            )
        hint = ""
        if low >= 0 and high <= 255:
            hint = ": they look like 0–255, so pass `.to(torch.uint8)` or divide by 255"
        elif low >= -1 - RANGE_SLACK and high <= 1 + RANGE_SLACK:
            hint = ": they look like -1–1, so pass `(images + 1) / 2`"
        raise ValueError(
            f"Argument `{argument}` must hold uint8 pixels in 0–255 or float pixels in 0–1, but got float "
            f"values from {low:g} to {high:g}{hint}."
        )


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
    if dtype != np.uint8 and dtype.name not in _ARRAY_FLOATS:
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
