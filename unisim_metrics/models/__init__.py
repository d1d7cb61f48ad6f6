"""Perceptual models: the protocol, the encoders, and everything that loads them."""

from unisim_metrics.models.clip import CLIPEncoder
from unisim_metrics.models.convert import convert
from unisim_metrics.models.custom import CustomEncoder
from unisim_metrics.models.encoder import EncoderModel
from unisim_metrics.models.generative import GenerativeModel
from unisim_metrics.models.loading import load_model
from unisim_metrics.models.open_clip import OpenCLIPEncoder
from unisim_metrics.models.protocol import PerceptualModel
from unisim_metrics.models.registry import REGISTRY, ModelEntry, list_models

__all__ = [
    "REGISTRY",
    "CLIPEncoder",
    "CustomEncoder",
    "EncoderModel",
    "GenerativeModel",
    "ModelEntry",
    "OpenCLIPEncoder",
    "PerceptualModel",
    "convert",
    "list_models",
    "load_model",
]
