"""Images of every kind in, one batch of pixels out: finding, decoding, resizing, normalising, and the threads for it.

May live here: what finds image files, and what turns files, Pillow images, arrays and tensors into pixels. It knows no
task and no model; it imports `errors` and `lazy` alone. The public names load on first use: how a model wants its
images needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisim_metrics.lazy import lazily

if TYPE_CHECKING:
    from unisim_metrics.images.decoding import decode_image, load_image, open_images
    from unisim_metrics.images.inputs import ImageInput, Images, count_images, is_image, list_images
    from unisim_metrics.images.preparation import prepare_image, preprocess
    from unisim_metrics.images.preprocessing import (
        OPENAI_CLIP_MEAN,
        OPENAI_CLIP_STD,
        Preprocessing,
        Resample,
    )

__all__ = [
    "OPENAI_CLIP_MEAN",
    "OPENAI_CLIP_STD",
    "ImageInput",
    "Images",
    "Preprocessing",
    "Resample",
    "count_images",
    "decode_image",
    "is_image",
    "list_images",
    "load_image",
    "open_images",
    "prepare_image",
    "preprocess",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "decoding": ("decode_image", "load_image", "open_images"),
        "inputs": ("ImageInput", "Images", "count_images", "is_image", "list_images"),
        "preparation": ("prepare_image", "preprocess"),
        "preprocessing": ("OPENAI_CLIP_MEAN", "OPENAI_CLIP_STD", "Preprocessing", "Resample"),
    },
)
