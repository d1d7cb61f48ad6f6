"""Images as trainers and pipelines hand them over, with the channels first or last, as the models take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_CHANNELS = (1, 3, 4)


def channels_first_batch(images: Any, argument: str) -> Any:
    """Several images as the models take them.

    Args:
        images: A tensor or an array `[N, C, H, W]` or `[N, H, W, C]`, or a sequence of images of any kind.
        argument: The name of the argument in messages.

    Returns:
        A tensor `[N, C, H, W]`, or a list.

    Raises:
        ValueError: If a tensor or an array has another shape.
        TypeError: If it is none of these.
    """
    if isinstance(images, Tensor | np.ndarray):
        if images.ndim != 4:
            raise ValueError(
                f"Argument `{argument}` must have shape [N, C, H, W] or [N, H, W, C], but got {tuple(images.shape)}."
            )
        return channels_first(images)
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise TypeError(
            f"Argument `{argument}` must be a tensor, an array or a list of images,"
            f" but got {type(images).__module__}.{type(images).__qualname__}."
        )
    return [channels_first(image) for image in images]


def channels_first(image: Any) -> Any:
    """One image, or a batch, with its channels before height and width.

    Args:
        image: A tensor or an array of three or four dimensions, which becomes a tensor; anything else stays as it is.
    """
    if not isinstance(image, Tensor | np.ndarray) or image.ndim not in (3, 4):
        return image
    first, last = image.shape[-3] in _CHANNELS, image.shape[-1] in _CHANNELS
    # Where both could be channels, the custom of the type decides.
    behind = last and (not first or isinstance(image, np.ndarray))
    tensor = torch.from_numpy(np.ascontiguousarray(image)) if isinstance(image, np.ndarray) else image
    return tensor.movedim(-1, -3) if behind else tensor


def device_of(images: Any) -> torch.device | None:
    """Where the first tensor among the images is; None if there is no tensor."""
    tensors = [images] if isinstance(images, Tensor) else images
    return next((image.device for image in tensors if isinstance(image, Tensor)), None)
