"""Which way up an image is: one reader of its metadata, for files and opened images, and the turn that it asks for."""

from __future__ import annotations

import struct

from PIL import Image
from torch import Tensor

__all__ = ["orientation_of", "turn_image", "turn_tensor"]

_ORIENTATION = 0x0112

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The same turns of [C, H, W]: the sides to flip, and whether to change rows for columns after.
_FLIPS: dict[int, tuple[tuple[int, ...], bool]] = {
    2: ((-1,), False),
    3: ((-2, -1), False),
    4: ((-2,), False),
    5: ((), True),
    6: ((-2,), True),
    7: ((-2, -1), True),
    8: ((-1,), True),
}

# What the parser of a block of metadata raises on one that is damaged. No pixels are decoded then.
_METADATA_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error),
    *(TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError),
    Warning,  # where a program made errors of warnings
)


def orientation_of(image: Image.Image) -> int:
    """The orientation of EXIF or XMP, 1 to 8; 1 where there is none, or none that can be read.

    Args:
        image: An image whose pixels are decoded, or a JPEG file that was opened: other formats decode to find their
            metadata, and an error of that would pass for damaged metadata here.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _METADATA_ERRORS:
        return 1
    return int(orientation) if orientation in range(2, 9) else 1


def turn_image(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright. Nothing is written into its metadata, odd tags of which would be in the way."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def turn_tensor(pixels: Tensor, orientation: int) -> Tensor:
    """``[C, H, W]`` upright; where only rows and columns change places, a view."""
    if orientation not in _FLIPS:
        return pixels
    sides, swap = _FLIPS[orientation]
    flipped = pixels.flip(sides) if sides else pixels
    return flipped.transpose(-1, -2) if swap else flipped
