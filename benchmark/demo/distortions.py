"""Distortions of five strengths each, the kinds of which KADID-10k has by these names."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

__all__ = ["DISTORTIONS", "LEVELS", "brighten", "distort"]

LEVELS = (1, 2, 3, 4, 5)


def distort(image: Image.Image, kind: str, level: int, seed: int = 0) -> Image.Image:
    """Return a distorted copy.

    Args:
        image: The image, RGB.
        kind: One of `DISTORTIONS`.
        level: From 1, mild, to 5, severe.
        seed: Decides the noise.
    """
    return DISTORTIONS[kind](image, level, np.random.default_rng([seed, level, 19]))


def brighten(image: Image.Image, stops: float) -> Image.Image:
    """Return the image as another exposure shows it, so many stops brighter or darker."""
    linear = (np.asarray(image, dtype=np.float64) / 255) ** 2.2 * 2**stops
    return Image.fromarray((linear.clip(0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8))


def _blur(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur((0.5, 1, 2, 3.5, 6)[level - 1] * image.width / 128))


def _jpeg(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=(43, 24, 12, 7, 3)[level - 1])
    return Image.open(file).convert("RGB")


def _noise(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float64)
    noise = random.normal(0, (8, 16, 28, 48, 80)[level - 1], pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _pixelate(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    share = (0.6, 0.4, 0.25, 0.15, 0.08)[level - 1]
    small = image.resize((max(int(image.width * share), 2), max(int(image.height * share), 2)))
    return small.resize(image.size, Image.Resampling.NEAREST)


def _darken(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    return brighten(image, -0.6 * level)


def _fade(image: Image.Image, level: int, random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance((0.8, 0.6, 0.42, 0.26, 0.12)[level - 1])


DISTORTIONS: dict[str, Callable[[Image.Image, int, np.random.Generator], Image.Image]] = {
    "gaussian blur": _blur,
    "jpeg": _jpeg,
    "white noise": _noise,
    "pixelate": _pixelate,
    "darken": _darken,
    "contrast change": _fade,
}
