"""EfficientNet-Lite as an image tower of transformers, from weights in the layout of `efficientnet-lite-pytorch`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import EfficientNetConfig, EfficientNetModel

SIZE = 224
# What the network was trained with: (pixel - 127) / 128.
MEAN, STD = 127 / 255, 128 / 255
# A gate of sigmoid(30), which is 1 in float32: the Lite networks have no squeeze-and-excite.
_OPEN_GATE = 30.0

_PARTS = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}
_ENDS = {
    "_conv_stem": "embeddings.convolution",
    "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv",
    "_bn1": "encoder.top_bn",
}


def lite2_config() -> EfficientNetConfig:
    """The configuration of EfficientNet-Lite2: its widths and repeats written out, the last ones not scaled."""
    config = EfficientNetConfig(
        image_size=SIZE,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        in_channels=[32, 16, 24, 48, 88, 120, 208],
        out_channels=[16, 24, 48, 88, 120, 208, 352],
        num_block_repeats=[1, 3, 3, 4, 4, 5, 1],
        kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        strides=[1, 2, 2, 2, 1, 2, 1],
        expand_ratios=[1, 6, 6, 6, 6, 6, 6],
        depthwise_padding=[],
        hidden_dim=1280,
        hidden_act="relu6",
        squeeze_expansion_ratio=1e-6,
        batch_norm_eps=1e-3,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
    )
    # The name under which two-tower models look for the width of their image tower's pooled output.
    config.hidden_size = config.hidden_dim
    return config


@torch.no_grad()
def build_lite2(weights: Mapping[str, Tensor]) -> tuple[EfficientNetModel, Tensor, Tensor]:
    """Build the image tower.

    Args:
        weights: The state dict of EfficientNet-Lite2, its classifier included.

    Returns:
        The tower in evaluation mode, and the classifier's weight `[1000, 1280]` and bias `[1000]`.

    Raises:
        ValueError: If the weights are not exactly the network's.
    """
    model = EfficientNetModel(lite2_config())
    own = {name: tensor.zero_() for name, tensor in model.state_dict().items() if ".squeeze_excite." in name}
    for name, tensor in own.items():
        if name.endswith("expand.bias"):
            tensor.fill_(_OPEN_GATE)
    renamed = {_rename(name): tensor for name, tensor in weights.items()}
    classifier = [renamed.pop(f"_fc.{kind}", None) for kind in ("weight", "bias")]
    expected = model.state_dict().keys()
    if (renamed | own).keys() != expected or any(part is None for part in classifier):
        raise ValueError(
            "Argument `weights` must hold exactly those of EfficientNet-Lite2, but these differ:"
            f" {sorted((renamed | own).keys() ^ expected)}."
        )
    model.load_state_dict(renamed | own, strict=True)
    weight, bias = classifier
    assert weight is not None and bias is not None
    return model.eval(), weight.contiguous(), bias


def _rename(name: str) -> str:
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        return f"encoder.blocks.{match[1]}.{_PARTS.get(match[2], match[2])}.{match[3]}"
    layer, _, kind = name.rpartition(".")
    return f"{_ENDS.get(layer, layer)}.{kind}"


def lower(model: EfficientNetModel, pixels: Tensor, blocks: int) -> Tensor:
    """Pass prepared pixels `[N, 3, S, S]` through the stem and the first so many blocks: `[N, C, H, W]`.

    This and `upper` are the network with each normalisation folded into its convolution and without the idle
    gates: the same values, at a third less of the time.
    """
    stem = model.embeddings
    hidden = F.relu6(_convolve(stem.convolution, stem.batchnorm, stem.padding(pixels)))
    for block in model.encoder.blocks[:blocks]:
        hidden = _pass_block(block, hidden)
    return hidden


def upper(model: EfficientNetModel, hidden: Tensor, blocks: int) -> Tensor:
    """Pass what `lower` gave through the rest: the pooled features `[N, 1280]`."""
    for block in model.encoder.blocks[blocks:]:
        hidden = _pass_block(block, hidden)
    return F.relu6(_convolve(model.encoder.top_conv, model.encoder.top_bn, hidden)).mean(dim=(2, 3))


def _pass_block(block: Any, hidden: Tensor) -> Tensor:
    inner = hidden
    if block.expand:
        inner = F.relu6(_convolve(block.expansion.expand_conv, block.expansion.expand_bn, inner))
    depthwise = block.depthwise_conv
    if depthwise.stride == 2:
        inner = depthwise.depthwise_conv_pad(inner)
    inner = F.relu6(_convolve(depthwise.depthwise_conv, depthwise.depthwise_norm, inner))
    projection = block.projection
    inner = _convolve(projection.project_conv, projection.project_bn, inner)
    return inner + hidden if projection.apply_dropout else inner


def _convolve(convolution: nn.Conv2d, norm: nn.BatchNorm2d, hidden: Tensor) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return F.conv2d(
        hidden,
        convolution.weight * gain[:, None, None, None],
        norm.bias - norm.running_mean * gain,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )
