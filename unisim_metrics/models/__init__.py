"""Perceptual models: the protocol, the encoders, and everything that loads them.

The public names load on first use: the registry needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisim_metrics.lazy import lazily

if TYPE_CHECKING:
    from unisim_metrics.models.checkpoints.conversion import convert
    from unisim_metrics.models.encoders.base import EncoderModel
    from unisim_metrics.models.encoders.clip import CLIPEncoder
    from unisim_metrics.models.encoders.custom import CustomEncoder
    from unisim_metrics.models.encoders.dual_encoder import DualEncoder
    from unisim_metrics.models.encoders.open_clip import OpenCLIPEncoder
    from unisim_metrics.models.generative.model import GenerativeModel
    from unisim_metrics.models.loading import load_model
    from unisim_metrics.models.protocol import PerceptualModel
    from unisim_metrics.models.registry import REGISTRY, ModelEntry, list_models

__all__ = [
    "REGISTRY",
    "CLIPEncoder",
    "CustomEncoder",
    "DualEncoder",
    "EncoderModel",
    "GenerativeModel",
    "ModelEntry",
    "OpenCLIPEncoder",
    "PerceptualModel",
    "convert",
    "list_models",
    "load_model",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "checkpoints.conversion": ("convert",),
        "encoders.base": ("EncoderModel",),
        "encoders.clip": ("CLIPEncoder",),
        "encoders.custom": ("CustomEncoder",),
        "encoders.dual_encoder": ("DualEncoder",),
        "encoders.open_clip": ("OpenCLIPEncoder",),
        "generative.model": ("GenerativeModel",),
        "loading": ("load_model",),
        "protocol": ("PerceptualModel",),
        "registry": ("ModelEntry", "REGISTRY", "list_models"),
    },
)
