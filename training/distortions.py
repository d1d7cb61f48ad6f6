"""Photographic distortions with a severity, from which quality and image triplets are made.

Every distortion takes a uint8 image `[3, H, W]` and a severity in (0, 1], and keeps the shape. Sizes
(of a blur, of a block) are relative to the short side, so that a severity looks alike at any resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from unisim_metrics.tasks import Attribute

Distortion = Callable[[Tensor, float, np.random.Generator], Tensor]
Name = Literal[
    "blur",
    "noise",
    "jpeg",
    "pixelate",
    "contrast",
    "saturation",
    "darken",
    "overexpose",
    "posterize",
    "impulse",
]
ATTRIBUTE_LOST: dict[Name, Attribute] = {
    "blur": "sharpness",
    "contrast": "contrast",
    "saturation": "colorfulness",
    "darken": "brightness",
}
"""The attribute that each of these distortions takes away."""
LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)


def blur(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Gaussian blur; sigma up to 1.5 % of the short side."""
    sigma = 0.015 * min(image.shape[-2:]) * severity
    radius = max(int(np.ceil(3 * sigma)), 1)
    radius = min(radius, min(image.shape[-2:]) // 2 - 1)
    distorted: Tensor = TF.gaussian_blur(image, [2 * radius + 1, 2 * radius + 1], [sigma, sigma])
    return distorted


def noise(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """White Gaussian noise; sigma up to 60 of 255."""
    values = image.float() + torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)) * (
        60 * severity
    )
    return values.round().clamp(0, 255).to(torch.uint8)


def jpeg(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """JPEG compression; quality from 60 down to 4, geometrically."""
    quality = round(60 * (4 / 60) ** severity)
    distorted: Tensor = decode_jpeg(encode_jpeg(image.contiguous(), quality=quality), mode=ImageReadMode.RGB)
    return distorted


def pixelate(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Square blocks of one colour; up to 1/32 of the short side."""
    height, width = image.shape[-2:]
    block = 1 + severity * max(min(height, width) / 32 - 1, 1)
    blocks = (max(round(height / block), 1), max(round(width / block), 1))
    colours = F.interpolate(image[None].float(), blocks, mode="area").round()
    return F.interpolate(colours, (height, width), mode="nearest")[0].to(torch.uint8)


def contrast(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Loss of contrast, up to 85 %."""
    distorted: Tensor = TF.adjust_contrast(image, 1 - 0.85 * severity)
    return distorted


def saturation(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Loss of colour, up to a grey image."""
    distorted: Tensor = TF.adjust_saturation(image, 1 - severity)
    return distorted


def darken(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Under-exposure, up to 85 % of the light lost."""
    distorted: Tensor = TF.adjust_brightness(image, 1 - 0.85 * severity)
    return distorted


def overexpose(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Over-exposure with clipped highlights, up to three times the light."""
    distorted: Tensor = TF.adjust_brightness(image, 1 + 2 * severity)
    return distorted


def posterize(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Fewer tones, from 24 down to 2 a channel."""
    step = 255 / (round(24 * (2 / 24) ** severity) - 1)
    distorted: Tensor = ((image.float() / step).round() * step).round().to(torch.uint8)
    return distorted


def impulse(image: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Salt and pepper on up to 20 % of the pixels."""
    chance = torch.from_numpy(rng.random(image.shape[-2:], dtype=np.float32))
    share = 0.2 * severity
    image = torch.where(chance < share / 2, torch.zeros_like(image), image)
    return torch.where(chance > 1 - share / 2, torch.full_like(image, 255), image)


DISTORTIONS: dict[Name, Distortion] = {
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "pixelate": pixelate,
    "contrast": contrast,
    "saturation": saturation,
    "darken": darken,
    "overexpose": overexpose,
    "posterize": posterize,
    "impulse": impulse,
}
