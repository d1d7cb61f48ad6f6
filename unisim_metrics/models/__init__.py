"""Perceptual models: the protocol, the encoders, and everything that loads them.

The public names load on first use: the registry needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "CLIPEncoder": "encoders.clip",
    "CustomEncoder": "encoders.custom",
    "DualEncoder": "encoders.dual_encoder",
    "EncoderModel": "encoders.base",
    "GenerativeModel": "generative.model",
    "ModelEntry": "registry",
    "OpenCLIPEncoder": "encoders.open_clip",
    "PerceptualModel": "protocol",
    "REGISTRY": "registry",
    "convert": "checkpoints.conversion",
    "list_models": "registry",
    "load_model": "loading",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
