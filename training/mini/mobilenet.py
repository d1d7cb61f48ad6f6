"""MobileNet v2 as an image tower of transformers, built from folded convolutions in TensorFlow's layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import MobileNetV2Config, MobileNetV2Model
from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import MobileNetV2ConvLayer

STEM_BLOCK = "expanded_conv"
PARTS = {"expand": "expand_1x1", "depthwise": "conv_3x3", "project": "reduce_1x1"}


@dataclass(frozen=True)
class Layer:
    """A convolution with its normalisation folded in.

    `weight` is `[out, height, width, in]`, of a depthwise convolution `[1, height, width, channels]`;
    `bias` is `[out]`.
    """

    weight: np.ndarray
    bias: np.ndarray


def build_mobilenet(layers: Mapping[str, Layer], **config: Any) -> MobileNetV2Model:
    """Build the float network.

    The scale of each channel goes to the normalisation's gain, so that all weights of a convolution are of
    one size: an adaptive optimizer moves all weights by like steps, whatever their size.

    Args:
        layers: Every convolution by its scope, `"Conv"`, `"expanded_conv_3/project"`, ..., `"Conv_1"`.
        config: Settings of `MobileNetV2Config`.

    Raises:
        ValueError: If the scopes are not exactly the network's.
    """
    model = MobileNetV2Model(MobileNetV2Config(**config))
    # The name under which two-tower models look for the width of their image tower's pooled output.
    model.config.hidden_size = model.conv_1x1.convolution.out_channels
    convolutions = {
        name: module for name, module in model.named_modules() if isinstance(module, MobileNetV2ConvLayer)
    }
    given = {module_name(scope): layer for scope, layer in layers.items()}
    if given.keys() != convolutions.keys():
        raise ValueError(
            "Argument `layers` must hold exactly the network's convolutions, but these differ:"
            f" {sorted(given.keys() ^ convolutions.keys())}."
        )
    for name, target in convolutions.items():
        _fill(target, given[name])
    model.eval()
    return model


def module_name(scope: str) -> str:
    """Translate a scope of TensorFlow to the module's name in transformers."""
    if scope in ("Conv", "Conv_1"):
        return "conv_stem.first_conv" if scope == "Conv" else "conv_1x1"
    match = re.fullmatch(rf"{STEM_BLOCK}(?:_(\d+))?/({'|'.join(PARTS)})", scope)
    if match is None:
        raise ValueError(f"Argument `layers` must name convolutions of MobileNet v2, but got {scope!r}.")
    block = "conv_stem" if match[1] is None else f"layer.{int(match[1]) - 1}"
    return f"{block}.{PARTS[match[2]]}"


@torch.no_grad()
def _fill(target: Any, layer: Layer) -> None:
    weight = torch.from_numpy(layer.weight)
    depthwise = target.convolution.groups > 1
    weight = weight.permute(3, 0, 1, 2) if depthwise else weight.permute(0, 3, 1, 2)
    gain = (weight.flatten(1).norm(dim=1) / 2**0.5).clamp_min(1e-6)
    target.convolution.weight.copy_(weight / gain[:, None, None, None])
    norm = target.normalization
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.copy_(gain)
    norm.bias.copy_(torch.from_numpy(layer.bias))
