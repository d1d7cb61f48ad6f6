"""Images of every kind as the RGB Pillow images that processors of transformers take."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.images.decoding import load_image, pil_to_rgb
from unisim_metrics.images.resizing import flatten_alpha

# What of an image processor's settings changes the pixels.
_SETTINGS = (
    *("size", "crop_size", "do_resize", "do_center_crop", "do_convert_rgb", "do_rescale", "rescale_factor"),
    *(
        "do_normalize",
        "image_mean",
        "image_std",
        "resample",
        "do_pad",
        "do_image_splitting",
        "crop_to_patches",
    ),
    *("min_patches", "max_patches", "min_pixels", "max_pixels", "patch_size", "merge_size"),
    *("temporal_patch_size", "image_grid_pinpoints"),
)


def identify(image: Any) -> Hashable:
    """A key that is equal for equal files, objects and views of one memory, while these exist."""
    if isinstance(image, Path):
        return image
    if isinstance(image, Tensor):
        return image.device, image.data_ptr(), image.dtype, tuple(image.shape), image.stride()
    return id(image)


def to_rgb(image: Path | Image.Image | Tensor) -> Image.Image:
    """The image as RGB: upright, transparency on white, float pixels rounded to 256 levels.

    Args:
        image: A file, a Pillow image, or a tensor `[C, H, W]` whose values were checked.

    Raises:
        ImageReadError: If a file cannot be read.
    """
    if isinstance(image, Image.Image):
        return pil_to_rgb(image)
    pixels = load_image(image) if isinstance(image, Path) else _to_bytes(image)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _to_bytes(pixels: Tensor) -> Tensor:
    batch = flatten_alpha(pixels.detach()[None])
    if batch.dtype != torch.uint8:
        batch = batch.to(torch.float32).clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return batch[0].expand(3, -1, -1).cpu()


def preparation(image_processor: Any) -> dict[str, Any]:
    """The settings of a processor of transformers that decide what a model sees of an image."""
    settings = image_processor.to_dict()
    return {name: settings[name] for name in _SETTINGS if settings.get(name) is not None}
