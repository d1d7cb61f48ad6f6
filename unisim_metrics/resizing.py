"""Antialiased bicubic resize, crop and normalisation, one kernel for each kind of pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from unisim_metrics.decoding import pil_to_tensor
from unisim_metrics.preprocessing import Preprocessing, Triple

__all__ = [
    "RANGE_SLACK",
    "flatten_alpha",
    "normalise",
    "normalise_bytes",
    "resize_bytes",
    "resize_floats",
    "resize_pil",
]

RANGE_SLACK = 1e-3
"""How far float pixels may pass the ends of [0, 1]: rounding in half precision goes this far."""


def resize_pil(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Pillow's own resize, then the crop: RGB image to ``[3, S, S]`` uint8, bit for bit the reference."""
    height, width = preprocessing.resized(image.height, image.width)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    top, left, side = preprocessing.offset(height), preprocessing.offset(width), preprocessing.size
    return pil_to_tensor(image.crop((left, top, left + side, top + side)))


def resize_bytes(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The CPU's integer kernel: ``[N, C, H, W]`` uint8 to ``[N, 3, S, S]`` uint8.

    It follows Pillow's fixed-point arithmetic, within 1 or 2 of 255 levels. All of it runs on the calling
    thread: callers split a batch over theirs.
    """
    pixels = flatten_alpha(pixels)
    height, width = preprocessing.resized(*pixels.shape[-2:])
    top, left, side = preprocessing.offset(height), preprocessing.offset(width), preprocessing.size
    rows, columns = slice(top, top + side), slice(left, left + side)
    if pixels.shape[-2:] != (height, width):
        if pixels.shape[1] == 3 and pixels.stride(1) != 1 and sys.byteorder == "little":
            return _resize_planes(pixels, (height, width), rows, columns)
        pixels = interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    return pixels[..., rows, columns].expand(-1, 3, -1, -1)


def resize_floats(pixels: Tensor, preprocessing: Preprocessing, dtype: torch.dtype) -> Tensor:
    """The kernel of every device and of gradients, to ``[N, 1 or 3, S, S]`` of ``dtype`` in [0, 1].

    Pillow resizes along rows, then columns, and clips in between, which is why a single two-dimensional pass
    is up to 16 of 255 levels off near sharp edges. Here the passes are two as well. (Since Pillow 13 it takes
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
    columns = slice(left, left + side)
    pixels = _resize_axis(pixels, (pixels.shape[-2], width), clip)[..., columns]
    pixels = _resize_axis(pixels, (height, side), clip)[..., top : top + side, :]
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
    """Writes uint8 ``[N, 3, S, S]`` normalised into float ``[N, 3, S, S]``, on the calling thread.

    The operations are those of ``normalise``, to the last bit, but plane by plane: a plane stays in the cache
    from the first to the last of them, where a whole batch would come from memory for each.
    """
    import numpy as np

    constant = np.dtype(str(out.dtype).removeprefix("torch.")).type
    statistics = [
        (constant(mean), constant(std))
        for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True)
    ]
    for crop, image in zip(crops.numpy(), out.numpy(), strict=True):
        for plane, target, (mean, std) in zip(crop, image, statistics, strict=True):
            np.divide(plane, constant(255), out=target)
            np.subtract(target, mean, out=target)
            np.divide(target, std, out=target)


def _resize_planes(pixels: Tensor, size: tuple[int, int], rows: slice, columns: slice) -> Tensor:
    """Resizes and crops ``[N, 3, H, W]`` planes.

    The kernel works on interleaved channels and spends twice its own time on getting there from planes.
    Packed into 32-bit words by vectorised integer operations, red in the lowest byte, they reach it in a
    quarter of that. NumPy does so rather than torch, which would start a team of threads under each calling
    thread.
    """
    import numpy as np

    count, _, height, width = pixels.shape
    words = np.empty((height, width), dtype=np.uint32)
    plane = np.empty_like(words)
    interleaved = torch.from_numpy(words.view(np.uint8).reshape(1, height, width, 4)).permute(0, 3, 1, 2)
    crops = np.empty((count, rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint32)
    for image, crop in zip(pixels.numpy(), crops, strict=True):
        words[...] = image[2]
        for channel in (1, 0):
            np.left_shift(words, 8, out=words)
            plane[...] = image[channel]
            np.bitwise_or(words, plane, out=words)
        resized = interpolate(interleaved, size, mode="bicubic", antialias=True)
        crop[...] = resized.permute(0, 2, 3, 1).contiguous().numpy().view(np.uint32)[0, rows, columns, 0]
    return torch.from_numpy(crops.view(np.uint8).reshape(*crops.shape, 4)).permute(0, 3, 1, 2)[:, :3]


def _resize_axis(pixels: Tensor, size: tuple[int, int], clip: Callable[[Tensor], Tensor]) -> Tensor:
    """One pass of the resize; none where the size is already right, as in Pillow."""
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    return clip(interpolate(pixels, size, mode="bicubic", antialias=True))


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
