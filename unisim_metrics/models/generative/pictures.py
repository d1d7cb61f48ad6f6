"""Images of every kind as the RGB Pillow images that processors of transformers take."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.errors import GradientError
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


def to_pixels(image: Tensor) -> Tensor:
    """A float image as `to_rgb` has it, but not rounded, `[3, H, W]` in [0, 1], with its graph."""
    return flatten_alpha(image[None].to(torch.float32)).expand(-1, 3, -1, -1)[0]


def prepare(
    processor: Any, texts: Sequence[str], images: Sequence[Sequence[Any]], graph: bool, **settings: Any
) -> Any:
    """What a processor of transformers makes of texts and of the images in each.

    Args:
        processor: The processor.
        texts: The texts.
        images: Images whose values were checked, for each text; of a graph float tensors.
        graph: Whether gradients are to reach their pixels.
        settings: What else the processor takes.

    Raises:
        GradientError: If the processor takes no tensors with a graph.
    """
    if not graph:
        shown = [[to_rgb(image) for image in row] for row in images]
        return processor(text=list(texts), images=shown, return_tensors="pt", **settings)
    if by_pillow(processor.image_processor):
        raise no_gradients(processor)
    pixels = [[to_pixels(image) for image in row] for row in images]
    try:
        return processor(text=list(texts), images=pixels, do_rescale=False, return_tensors="pt", **settings)
    except TypeError as error:
        raise no_gradients(processor) from error


def by_pillow(image_processor: Any) -> bool:
    """Whether an image processor of transformers resizes by Pillow."""
    return type(image_processor).__name__.endswith("Pil")


def no_gradients(processor: Any) -> GradientError:
    """The refusal of images that require gradients."""
    kind = f"{type(processor).__name__} with a {type(processor.image_processor).__name__}"
    return GradientError(
        f"Images must not require gradients for a generative model whose processor carries none, but got some for a"
        f" {kind}: detach them, load the model with `resample='bicubic'` if it was loaded otherwise, or take an encoder"
        " such as 'unisim-vit-l-14'."
    )


def requires_gradients(images: Sequence[Any]) -> bool:
    """Whether gradients are wanted for the pixels of some of the images."""
    return torch.is_grad_enabled() and any(
        isinstance(image, Tensor) and image.requires_grad for image in images
    )


def _to_bytes(pixels: Tensor) -> Tensor:
    batch = flatten_alpha(pixels.detach()[None])
    if batch.dtype != torch.uint8:
        batch = batch.to(torch.float32).clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return batch[0].expand(3, -1, -1).cpu()


def preparation(image_processor: Any) -> dict[str, Any]:
    """The settings of a processor of transformers that decide what a model sees of an image."""
    settings = image_processor.to_dict()
    return {name: settings[name] for name in _SETTINGS if settings.get(name) is not None}
