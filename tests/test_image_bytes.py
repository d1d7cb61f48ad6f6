"""Images as bytes: decoded as the file is, refused by their header or when they are damaged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import decode_image, load_image


def encoded(form: str, mode: str = "RGB", size: tuple[int, int] = (31, 17)) -> bytes:
    shape = (size[1], size[0], len(mode))
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values.squeeze()).save(file, format=form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB")],
)
def test_bytes_are_decoded_as_their_file_is(tmp_path: Path, form: str, mode: str) -> None:
    data = encoded(form, mode)
    path = tmp_path / "image"
    path.write_bytes(data)
    pixels = decode_image(data)
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 17, 31)
    assert torch.equal(pixels, load_image(path))
    if mode in ("RGB", "L"):
        with Image.open(path) as image:
            np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image.convert("RGB")))


def test_more_pixels_than_are_allowed() -> None:
    data = encoded("PNG")
    assert decode_image(data, max_pixels=31 * 17).shape == (3, 17, 31)
    with pytest.raises(
        ImageReadError, match=r"`images\[3\]` .* 31 × 17 pixels are more than the 526 allowed"
    ):
        decode_image(data, "images[3]", max_pixels=31 * 17 - 1)


def test_other_formats_than_are_allowed() -> None:
    assert decode_image(encoded("BMP")).shape == (3, 17, 31)
    with pytest.raises(ImageReadError, match="not an image of a known format"):
        decode_image(encoded("BMP"), formats=("PNG", "JPEG"))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_what_is_damaged_is_told(form: str) -> None:
    whole = encoded(form, size=(200, 200))
    for data in (b"", b"no image", whole[:10], whole[: len(whole) // 2]):
        with pytest.raises(ImageReadError, match="Argument `image` must hold an encoded image"):
            decode_image(data)
