"""Antialiased bicubic resize, crop and normalisation, one kernel for each kind of pixels.

What works on bytes runs on the calling thread alone, so that a batch can be split over several: besides
torch's resize, which is of one thread, it computes with NumPy, where torch would start a team of threads under
each caller.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from unisim_metrics.images.decoding import pil_to_tensor
from unisim_metrics.images.preprocessing import Preprocessing, Triple
from unisim_metrics.images.strips import is_strip, kept_taps, resize_strip, weigh_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANGE_SLACK = 1e-3
"""How far float pixels may pass the ends of [0, 1]: rounding in half precision goes this far."""

_PACKED_AT_ONCE = 2**20  # pixels, to bound the memory that packing takes


def resize_pil(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Pillow's own resize, then the crop: RGB image to ``[3, S, S]`` uint8, bit for bit the reference."""
    height, width = preprocessing.resized(image.height, image.width)
    if is_strip(image.height, image.width, preprocessing):
        return pil_to_tensor(resize_strip(image, preprocessing))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left, side = preprocessing.offset(height), preprocessing.offset(width), preprocessing.size
    return pil_to_tensor(image.crop((left, top, left + side, top + side)))


def resize_bytes(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The CPU's integer kernel: ``[N, C, H, W]`` uint8 to ``[N, 3, S, S]`` uint8.

    It follows Pillow's fixed-point arithmetic, within 1 or 2 of 255 levels.
    """
    pixels = flatten_alpha(pixels)
    if is_strip(pixels.shape[-2], pixels.shape[-1], preprocessing):
        images = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
        strips = (Image.fromarray(np.ascontiguousarray(image)) for image in images)
        return torch.stack([resize_pil(strip, preprocessing) for strip in strips])
    height, width = preprocessing.resized(*pixels.shape[-2:])
    top, left, side = preprocessing.offset(height), preprocessing.offset(width), preprocessing.size
    rows, columns = _kept(top, height, side), _kept(left, width, side)
    if pixels.shape[-2:] == (height, width):
        crops = pixels[..., rows, columns]
    elif pixels.stride(1) != 1 and sys.byteorder == "little":
        crops = _resize_planes(pixels, (height, width), rows, columns)
    else:
        crops = _resize_interleaved(pixels, (height, width), rows, columns)
    return _framed(crops, preprocessing).expand(-1, 3, -1, -1)


def resize_floats(pixels: Tensor, preprocessing: Preprocessing, dtype: torch.dtype) -> Tensor:
    """The kernel of every device and of gradients, to ``[N, 1 or 3, S, S]`` of ``dtype`` in [0, 1].

    Pillow resizes along rows, then columns, and clips in between, which is why a single two-dimensional pass
    is up to 16 of 255 levels off near sharp edges. Here the passes are two as well. (It takes
    the columns of some tall images first. No kernel of torch follows: what it clips differs there.) uint8
    pixels are rounded after each pass, as Pillow does. Float pixels are clipped only: gradients reach every
    pixel that is not clipped, and the clip leaves the accepted slack around [0, 1], so that rounding does not
    cut the gradient of plain black and white.
    """
    is_bytes = pixels.dtype == torch.uint8
    pixels = flatten_alpha(pixels).to(dtype)
    clip = _clip_levels if is_bytes else _clip_units
    height, width = preprocessing.resized(*pixels.shape[-2:])
    top, left, side = preprocessing.offset(height), preprocessing.offset(width), preprocessing.size
    if is_strip(pixels.shape[-2], pixels.shape[-1], preprocessing):
        pixels = _resize_strip(pixels, preprocessing, clip)
        return pixels / 255 if is_bytes else pixels
    pixels = _resize_axis(pixels, (pixels.shape[-2], width), clip)[..., _kept(left, width, side)]
    pixels = _resize_axis(pixels, (height, pixels.shape[-1]), clip)[..., _kept(top, height, side), :]
    pixels = _framed(pixels, preprocessing)
    return pixels / 255 if is_bytes else pixels


def flatten_alpha(pixels: Tensor) -> Tensor:
    """Composites ``[N, 4, H, W]`` onto white; pixels of 1 or 3 channels are returned as they are."""
    if pixels.shape[1] != 4:
        return pixels
    colours, alpha = pixels[:, :3], pixels[:, 3:]
    if pixels.dtype != torch.uint8:
        return colours * alpha + (1 - alpha)
    alpha = alpha.to(torch.int32)
    levels = colours * alpha + (255 * (255 - alpha) + 127)  # + 127: Pillow rounds to the nearest level
    return levels.div_(255, rounding_mode="floor").to(torch.uint8)


def normalise(pixels: Tensor, preprocessing: Preprocessing, in_place: bool = False) -> Tensor:
    """``[N, 1 or 3, S, S]`` in [0, 1] to normalised, contiguous ``[N, 3, S, S]``.

    The operations are those of the reference processors, in their order, so that equal pixels stay equal to
    the last bit. A fused multiply-add is no faster here.
    """
    mean = _constant(preprocessing.mean, pixels.device, pixels.dtype)
    std = _constant(preprocessing.std, pixels.device, pixels.dtype)
    centred = pixels.sub_(mean) if in_place else pixels.sub(mean)
    return centred.div_(std).contiguous()


def normalise_bytes(crops: Tensor, preprocessing: Preprocessing, out: Tensor) -> None:
    """Writes uint8 ``[N, 3, S, S]`` normalised into float ``[N, 3, S, S]``.

    The operations are those of ``normalise``, to the last bit.
    """
    pixels = out.numpy()
    mean = np.array(preprocessing.mean, pixels.dtype).reshape(3, 1, 1)
    std = np.array(preprocessing.std, pixels.dtype).reshape(3, 1, 1)
    pixels[...] = crops.numpy()
    np.divide(pixels, pixels.dtype.type(255), out=pixels)
    np.subtract(pixels, mean, out=pixels)
    np.divide(pixels, std, out=pixels)


def _kept(offset: int, length: int, side: int) -> slice:
    """What the crop keeps of a resized side of ``length`` pixels: all of one that is shorter than the crop."""
    return slice(max(offset, 0), min(offset + side, length))


def _framed(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Black around pixels that are fewer than the input's; others as they are."""
    (height, width), side = pixels.shape[-2:], preprocessing.size
    if height == width == side:
        return pixels
    top, left = -preprocessing.offset(height), -preprocessing.offset(width)
    return pad(pixels, (left, side - width - left, top, side - height - top))


def _resize_interleaved(pixels: Tensor, size: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    return interpolate(pixels, size, mode="bicubic", antialias=True)[..., rows, columns]


def _resize_planes(pixels: Tensor, size: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    """Resizes and crops ``[N, C, H, W]`` in which each channel is a plane of its own.

    The kernel works on interleaved channels and spends twice its own time on getting there from planes.
    Packed first, four to a pixel, whatever images and channels they are of, they take half of that.
    """
    planes = pixels.numpy().reshape(-1, *pixels.shape[-2:])
    crops = np.empty((len(planes), rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
    at_once = 4 * max(1, _PACKED_AT_ONCE // planes[0].size)
    for start in range(0, len(planes), at_once):
        lanes = _lanes(planes[start : start + at_once])
        resized = _resize_interleaved(_pack(lanes), size, rows, columns).numpy()
        for channel, crop in enumerate(_lanes(crops[start : start + at_once])):
            crop[...] = resized[: len(crop), channel]
    return torch.from_numpy(crops.reshape(*pixels.shape[:2], *crops.shape[1:]))


def _lanes(planes: NDArray[Any]) -> list[NDArray[Any]]:
    """Cuts planes into at most four runs; the last may be shorter than the others."""
    length = math.ceil(len(planes) / 4)
    return [planes[start : start + length] for start in range(0, len(planes), length)]


def _pack(lanes: Sequence[NDArray[Any]]) -> Tensor:
    """Packs up to four ``[K, H, W]`` uint8, one to a channel, into ``[K, 4, H, W]`` with channels last.

    Whole words are shifted and joined, which is vectorised, where bytes would be moved one by one.
    """
    *others, last = lanes
    words = np.empty_like(lanes[0], dtype=np.uint32)
    words[: len(last)], words[len(last) :] = last, 0
    for lane in reversed(others):
        np.left_shift(words, 8, out=words)
        np.bitwise_or(words, lane, out=words)
    return torch.from_numpy(words[..., None].view(np.uint8)).permute(0, 3, 1, 2)


def _resize_axis(pixels: Tensor, size: tuple[int, int], clip: Callable[[Tensor], Tensor]) -> Tensor:
    """One pass of the resize; none where the size is already right, as in Pillow."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return clip(interpolate(pixels, size, mode="bicubic", antialias=True))


def _resize_strip(pixels: Tensor, preprocessing: Preprocessing, clip: Callable[[Tensor], Tensor]) -> Tensor:
    """The two passes of an image that is far longer than its crop, over what the crop keeps."""
    height, width = preprocessing.resized(*pixels.shape[-2:])
    side = preprocessing.size
    if width > height:
        taps = kept_taps(pixels.shape[-1], width, preprocessing)
        columns = clip(weigh_rows(pixels.transpose(-1, -2), taps)).transpose(-1, -2)
        return _resize_axis(columns, (side, side), clip)
    taps = kept_taps(pixels.shape[-2], height, preprocessing)
    read, places, weights = taps
    rows = _resize_axis(pixels[..., read, :], (read.stop - read.start, side), clip)
    return clip(weigh_rows(rows, (slice(0, rows.shape[-2]), places, weights)))


def _clip_levels(pixels: Tensor) -> Tensor:
    return pixels.round_().clamp_(0, 255)


def _clip_units(pixels: Tensor) -> Tensor:
    if pixels.requires_grad:
        return pixels.clamp(-RANGE_SLACK, 1 + RANGE_SLACK)
    return pixels.clamp_(-RANGE_SLACK, 1 + RANGE_SLACK)


@lru_cache(maxsize=64)
def _constant(values: Triple, device: torch.device, dtype: torch.dtype) -> Tensor:
    """``[3, 1, 1]`` on the device, sent once: every later call saves the transfer."""
    with torch.inference_mode(False):  # an inference tensor could not take part in a later graph
        return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1)
