"""Images so long that their resized form would fill the memory: only what the centre crop keeps of them is resized.

The short side is brought to the size of the crop, so that a strip of 1 × 20,000 pixels would first become one of
224 × 4,480,000. Pillow takes the part of an image to be resized as float32, which moves pixels so far from the origin:
so the long side goes through its arithmetic here, to the bit, for the kept rows alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unisim_metrics.images.preprocessing import Preprocessing

_CROPS = 16
"""From how many crops' length on an image is a strip. Photographs and panoramas are shorter."""

_PRECISION = 22  # bits of a weight behind the point, as in Pillow

Taps = tuple[slice, NDArray[np.intp], NDArray[np.float64]]
"""What makes the kept pixels of a side: the pixels that are read, and ``[S, K]`` places among them and weights."""


def is_strip(height: int, width: int, preprocessing: Preprocessing) -> bool:
    """Whether the resized image is many times longer than its crop."""
    return max(preprocessing.resized(height, width)) > _CROPS * preprocessing.size


def resize_strip(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The crop ``S`` × ``S`` of a strip: the pixels that Pillow's resize and crop of all of it give, to the bit."""
    height, width = preprocessing.resized(image.height, image.width)
    side = preprocessing.size
    if height > width:
        taps = kept_taps(image.height, height, preprocessing)
        rows = image.crop((0, taps[0].start, image.width, taps[0].stop))
        if (
            image.height > 100 * image.width and height < image.height
        ):  # Pillow takes the columns of these first
            weighed = Image.fromarray(_weigh(np.asarray(rows), taps))
            return weighed.resize((side, side), Image.Resampling.BICUBIC)
        rows = rows.resize((side, rows.height), Image.Resampling.BICUBIC)
        return Image.fromarray(_weigh(np.asarray(rows), taps))
    taps = kept_taps(image.width, width, preprocessing)
    columns = np.asarray(image.crop((taps[0].start, 0, taps[0].stop, image.height)))
    kept = np.ascontiguousarray(_weigh(columns.swapaxes(0, 1), taps).swapaxes(0, 1))
    return Image.fromarray(kept).resize((side, side), Image.Resampling.BICUBIC)


def kept_taps(length: int, resized: int, preprocessing: Preprocessing) -> Taps:
    """The antialiased bicubic weights of the pixels that the crop keeps along the long side.

    Args:
        length: How long the side is.
        resized: How long it would be after the resize.
        preprocessing: What the model wants.
    """
    scale = length / resized
    widened = max(scale, 1.0)
    support = 2.0 * widened
    kept = preprocessing.offset(resized) + np.arange(preprocessing.size)
    centres = (kept + 0.5) * scale
    # A cast cuts towards zero, as in C.
    first = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centres + support + 0.5).astype(np.intp), length)
    places = first[:, None] + np.arange(int((last - first).max()))
    weights = _bicubic((places - centres[:, None] + 0.5) * (1.0 / widened))
    weights[places >= last[:, None]] = 0
    weights /= np.add.accumulate(weights, axis=1)[:, -1:]  # summed one by one, as in C
    read = slice(int(first[0]), int(last[-1]))
    return read, np.minimum(places, length - 1).clip(max=read.stop - 1) - read.start, weights


def weigh_rows(pixels: Tensor, taps: Taps) -> Tensor:
    """Float ``[..., H, W]``, all of its rows, to the kept ``[..., S, W]``; gradients pass."""
    read, places, weights = taps
    matrix = np.zeros((len(places), read.stop - read.start))
    np.add.at(matrix, (np.arange(len(places))[:, None], places), weights)
    return torch.from_numpy(matrix).to(pixels) @ pixels[..., read, :]


def _bicubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    a, x = -0.5, np.abs(distance)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _weigh(rows: NDArray[np.uint8], taps: Taps) -> NDArray[np.uint8]:
    """``[K, W, C]`` bytes to ``[S, W, C]``, in Pillow's fixed point."""
    _, places, weights = taps
    scaled = weights * (1 << _PRECISION)
    fixed = np.where(weights < 0, scaled - 0.5, scaled + 0.5).astype(np.int64)
    sums = np.full((len(places), *rows.shape[1:]), 1 << (_PRECISION - 1), dtype=np.int64)
    for tap in range(places.shape[1]):
        sums += fixed[:, tap, None, None] * rows[places[:, tap]]
    return (sums >> _PRECISION).clip(0, 255).astype(np.uint8)
