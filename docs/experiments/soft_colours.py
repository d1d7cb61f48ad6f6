"""JPEG images of soft colours, drawn alike for every measurement of speed."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def draw_jpegs(number: int, size: tuple[int, int], quality: int) -> list[bytes]:
    """Draw JPEG images of soft colours, each another, the same ones each time.

    Args:
        number: How many.
        size: Width and height in pixels.
        quality: Of the JPEG encoder.
    """
    rng = np.random.default_rng(0)
    files = []
    for _ in range(number):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize(size, Image.Resampling.BICUBIC).save(file, format="JPEG", quality=quality)
        files.append(file.getvalue())
    return files
