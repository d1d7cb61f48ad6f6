"""Images of every kind in, one batch of pixels out: inputs, decoding, resizing, normalising, and the threads for it.

May live here: what turns files, Pillow images, arrays and tensors into pixels. It knows no task and no model;
it imports `errors` alone. The public names load on first use: how a model wants its images needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unisim_metrics.images.decoding import load_image, open_images
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
    "is_image",
    "list_images",
    "load_image",
    "open_images",
    "prepare_image",
    "preprocess",
]

_HOMES = {
    "ImageInput": "inputs",
    "Images": "inputs",
    "OPENAI_CLIP_MEAN": "preprocessing",
    "OPENAI_CLIP_STD": "preprocessing",
    "Preprocessing": "preprocessing",
    "Resample": "preprocessing",
    "count_images": "inputs",
    "is_image": "inputs",
    "list_images": "inputs",
    "load_image": "decoding",
    "open_images": "decoding",
    "prepare_image": "preparation",
    "preprocess": "preparation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
