"""The tables of images and arrays in docs/compatibility.md and docs/security.md, each row of which is tried here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features
from skimage import data

from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import Preprocessing, preprocess
from unisim_metrics.images.decoding import load_image, pil_to_rgb

DOCS = Path(__file__).parents[1] / "docs"
SMALL = Preprocessing(size=32)
PHOTO = Image.fromarray(data.coffee()).resize((60, 44))
GREY = PHOTO.convert("L")
PLANES = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)
ALPHA = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (44, 1))


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.fromarray(ALPHA))
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(content: bytes) -> np.ndarray[Any, Any]:
    image = Image.open(io.BytesIO(content))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(image.convert("RGB"))


def frames() -> list[Image.Image]:
    return [PHOTO.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]


DEEP = Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257)
Make = Callable[[], Any]

# (what was tried, what happens, the bytes of a file, the RGB pixels or the words of a refusal; None: as Pillow has it)
FILES: list[tuple[str, str, Make, Any]] = [
    ("JPEG, baseline", "read, the bytes that Pillow gives", lambda: saved(PHOTO, "JPEG"), None),
    ("JPEG, progressive", "read", lambda: saved(PHOTO, "JPEG", progressive=True), None),
    ("JPEG, grey", "read as grey RGB", lambda: saved(GREY, "JPEG"), None),
    ("JPEG, CMYK", "read, through Pillow's conversion", lambda: saved(PHOTO.convert("CMYK"), "JPEG"), None),
    (
        "MPO of several pictures",
        "the first",
        lambda: saved(PHOTO, "MPO", save_all=True, append_images=frames()),
        None,
    ),
    ("PNG, RGB", "read", lambda: saved(PHOTO, "PNG"), None),
    ("PNG with transparency", "on white", lambda: saved(with_alpha(PHOTO), "PNG"), None),
    ("PNG, palette", "read", lambda: saved(PHOTO.quantize(64), "PNG"), None),
    (
        "PNG, palette with a transparent colour",
        "on white",
        lambda: saved(PHOTO.quantize(9), "PNG", transparency=3),
        None,
    ),
    ("PNG, black and white", "read", lambda: saved(PHOTO.convert("1"), "PNG"), None),
    ("PNG, 16-bit grey", "the high byte of every level", lambda: saved(DEEP, "PNG"), GREY.convert("RGB")),
    ("WebP, lossy or lossless", "read", lambda: saved(PHOTO, "WEBP"), None),
    ("WebP with transparency", "on white", lambda: saved(with_alpha(PHOTO), "WEBP", lossless=True), None),
    (
        "GIF, animated",
        "the first frame",
        lambda: saved(PHOTO, "GIF", save_all=True, append_images=frames()),
        None,
    ),
    ("TIFF, plain or compressed", "read", lambda: saved(PHOTO, "TIFF", compression="tiff_lzw"), None),
    (
        "TIFF of several pages",
        "the first",
        lambda: saved(PHOTO, "TIFF", save_all=True, append_images=frames()),
        None,
    ),
    (
        "TIFF, 32-bit float",
        "refused: its range is not known",
        lambda: saved(GREY.convert("F"), "TIFF"),
        "mode 'F', whose range is not known",
    ),
    ("BMP", "read", lambda: saved(PHOTO, "BMP"), None),
    ("JPEG 2000", "read, where Pillow has its library", lambda: saved(PHOTO, "JPEG2000"), None),
    ("AVIF", "read, where Pillow has its library", lambda: saved(PHOTO, "AVIF"), None),
    (
        "HEIC",
        "refused, unless `pillow_heif` is registered",
        lambda: heic(),
        "Pillow reads HEIC with a plugin alone: convert it to JPEG or PNG",
    ),
    (
        "JPEG XL",
        "refused, unless a plugin of Pillow's is registered",
        lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
        "Pillow reads JPEG XL with a plugin alone: convert it to JPEG or PNG",
    ),
    (
        "SVG",
        "refused: not an image of pixels",
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "not an image of a known format",
    ),
    ("PDF", "refused", lambda: saved(PHOTO, "PDF"), "not an image of a known format"),
    ("an empty file", "refused", lambda: b"", "not an image of a known format"),
    ("a file cut short", "refused", lambda: saved(PHOTO, "PNG")[:-900], "could not be read"),
]
NEEDS = {"JPEG 2000": "jpg_2000", "AVIF": "avif"}


def heic() -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize(("tried", "happens", "make", "expected"), FILES, ids=[row[0] for row in FILES])
def test_files(tried: str, happens: str, make: Make, expected: Any, tmp_path: Path) -> None:
    if tried in NEEDS and not features.check(NEEDS[tried]):
        pytest.skip(f"this Pillow has no {tried}")
    path = tmp_path / "image"
    path.write_bytes(make())
    if isinstance(expected, str):
        with pytest.raises(ImageReadError, match=expected):
            load_image(path)
        return
    pixels = by_pillow(path.read_bytes()) if expected is None else np.asarray(expected)
    assert np.array_equal(load_image(path).permute(1, 2, 0).numpy(), pixels)
    assert np.array_equal(np.asarray(pil_to_rgb(Image.open(path))), pixels)


def lab() -> Image.Image:
    return Image.frombytes("LAB", PHOTO.size, np.asarray(PHOTO).tobytes())


def palette_of_rgba() -> Image.Image:
    image = with_alpha(PHOTO).quantize(32)
    assert image.mode == "P" and image.palette.mode == "RGBA" and "transparency" not in image.info  # type: ignore[union-attr]
    return image


def on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


# (modes, what happens, images, the RGB image or the words of a refusal)
MODES: list[tuple[str, str, list[Make], Callable[[Image.Image], Image.Image] | str]] = [
    (
        "`RGB`, `RGBX`",
        "as they are",
        [lambda: PHOTO, lambda: PHOTO.convert("RGBX")],
        lambda image: image.convert("RGB"),
    ),
    ("`1`, `L`", "grey", [lambda: GREY, lambda: GREY.convert("1")], lambda image: image.convert("RGB")),
    (
        "`CMYK`, `YCbCr`, `HSV`, `LAB`",
        "Pillow's conversion",
        [*(lambda mode=mode: PHOTO.convert(mode) for mode in ("CMYK", "YCbCr", "HSV")), lab],  # type: ignore[misc]
        lambda image: image.convert("RGB"),
    ),
    ("`P`", "the palette's colours", [lambda: PHOTO.quantize(32)], lambda image: image.convert("RGB")),
    ("`P` with a palette of RGBA", "on white", [palette_of_rgba], on_white),
    (
        "`RGBA`, `LA`, `PA`",
        "on white",
        [lambda: with_alpha(PHOTO), lambda: with_alpha(GREY), lambda: with_alpha(PHOTO.quantize(32))],
        on_white,
    ),
    (
        "`RGBa`, `La`",
        "colours divided by their transparency, then on white",
        [lambda: with_alpha(PHOTO).convert("RGBa"), lambda: with_alpha(GREY).convert("La")],
        lambda image: on_white(image.convert(image.mode[:-1] + "A")),
    ),
    (
        "`I;16`, `I;16L`, `I;16B`",
        "the high byte of every level",
        [
            lambda: DEEP,
            lambda: Image.frombytes("I;16L", GREY.size, DEEP.tobytes()),
            lambda: Image.frombytes("I;16B", GREY.size, np.asarray(DEEP).astype(">u2").tobytes()),
        ],
        lambda image: GREY.convert("RGB"),
    ),
    (
        "`F`, `I`",
        "refused: their range is not known",
        [lambda: GREY.convert("F"), lambda: GREY.convert("I")],
        "whose range is not known: convert it to 'L' or 'RGB' first",
    ),
]


@pytest.mark.parametrize(("modes", "happens", "images", "expected"), MODES, ids=[row[0] for row in MODES])
def test_modes(modes: str, happens: str, images: list[Make], expected: Any) -> None:
    for make in images:
        image = make()
        assert f"`{image.mode}`" in modes
        if isinstance(expected, str):
            with pytest.raises(ImageReadError, match=expected):
                preprocess(image, SMALL)
        else:
            assert np.array_equal(np.asarray(pil_to_rgb(image)), np.asarray(expected(image)))


def pixels(*shape: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


# (what was tried, what happens, inputs, how many images come out or the words of a refusal)
ARRAYS: list[tuple[str, str, list[Any], int | str]] = [
    ("tensor `[C, H, W]`, uint8", "one image, 0–255", [pixels(3, 9, 8), pixels(1, 9, 8), pixels(4, 9, 8)], 1),
    (
        "tensor `[C, H, W]`, float16, bfloat16, float32 or float64",
        "one image, 0–1",
        [
            pixels(3, 9, 8, dtype=dtype)
            for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
        ],
        1,
    ),
    ("tensor `[N, C, H, W]`", "N images", [pixels(5, 3, 9, 8), pixels(5, 1, 9, 8)], 5),
    ("tensor `[H, W]`", "refused", [pixels(9, 8)], "add the channel with `.unsqueeze"),
    (
        "tensor `[H, W, C]`",
        "refused",
        [pixels(9, 8, 3)],
        r"channels come before height and width: `.permute\(2, 0, 1\)`",
    ),
    (
        "tensor of integers other than uint8, or of bool",
        "refused",
        [pixels(3, 9, 8, dtype=dtype) for dtype in (torch.int64, torch.int8, torch.bool)],
        "must hold uint8 pixels in 0–255 or float pixels in 0–1",
    ),
    (
        "floats outside 0–1, NaN, infinity",
        "refused",
        [pixels(3, 9, 8) * 2.0, pixels(3, 9, 8) * torch.nan],
        "must hold",
    ),
    ("array `[H, W]`", "one grey image", [np.ones((9, 8), np.uint8), np.ones((9, 8))], 1),
    ("array `[H, W, C]`", "one image; the channels of an array come last", [np.ones((9, 8, 3), np.uint8)], 1),
    ("array `[N, H, W, C]`", "N images", [np.ones((5, 9, 8, 3), np.float32)], 5),
    ("array `[C, H, W]`", "refused", [np.ones((3, 9, 8))], r"come last: `.transpose\(1, 2, 0\)`"),
    (
        "array of uint16",
        "refused",
        [np.ones((9, 8, 3), np.uint16)],
        r"`\(array >> 8\).astype\(numpy.uint8\)`",
    ),
    (
        "array of other integers, bool or complex",
        "refused",
        [np.ones((9, 8, 3), int), np.ones((9, 8), bool)],
        "array of",
    ),
    ("masked array", "refused", [np.ma.masked_equal(np.ones((9, 8)), 1)], "must not be a masked array"),
    ("nothing: `[]`, no pixels", "refused", [[], pixels(3, 0, 8), np.ones((0, 8, 3))], "must h"),
]


@pytest.mark.parametrize(("tried", "happens", "inputs", "expected"), ARRAYS, ids=[row[0] for row in ARRAYS])
def test_arrays(tried: str, happens: str, inputs: list[Any], expected: int | str) -> None:
    for value in inputs:
        if isinstance(expected, str):
            with pytest.raises((TypeError, ValueError), match=expected):
                preprocess(value, SMALL)
        else:
            assert preprocess(value, SMALL).shape == (expected, 3, 32, 32)


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 60,000 pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))
        )

    header = struct.pack(">LLBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def damaged() -> bytes:
    content = bytearray(saved(PHOTO, "PNG"))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def enormous_text() -> bytes:
    content = saved(PHOTO, "PNG")
    text = b"comment\0\0" + zlib.compress(b"a" * 2**23)
    return (
        content[:33]
        + struct.pack(">L", len(text))
        + b"zTXt"
        + text
        + struct.pack(">L", zlib.crc32(b"zTXt" + text))
        + content[33:]
    )


ATTACKS: list[tuple[str, str, Make, str]] = [
    (
        "a decompression bomb: 60,000 × 60,000 pixels in 130 bytes",
        "`ImageReadError` before anything is decoded",
        bomb,
        "exceeds limit of .* decompression bomb",
    ),
    (
        "a compressed text of 8 MiB in a PNG",
        "`ImageReadError`: Pillow's limit of text holds",
        enormous_text,
        "too large",
    ),
    (
        "a damaged file",
        "`ImageReadError`; what was decoded of it is never shown",
        damaged,
        "could not be read",
    ),
    (
        "PostScript under an image's name",
        "`ImageReadError`: no interpreter is started",
        lambda: saved(PHOTO, "EPS"),
        "EPS files are programs",
    ),
    (
        "an SVG with a script or a link",
        "`ImageReadError`: it is not read",
        lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "not an image of a known format",
    ),
]


@pytest.mark.parametrize(("tried", "happens", "make", "message"), ATTACKS, ids=[row[0] for row in ATTACKS])
def test_attacks(tried: str, happens: str, make: Make, message: str, tmp_path: Path) -> None:
    path = tmp_path / "attack.png"
    path.write_bytes(make())
    with pytest.raises(ImageReadError, match=message):
        load_image(path)


def table(heads: tuple[str, str], rows: list[Any]) -> str:
    return "\n".join(
        [f"| {heads[0]} | {heads[1]} |", "| --- | --- |", *(f"| {row[0]} | {row[1]} |" for row in rows)]
    )


TABLES = [
    ("compatibility.md", table(("file", "what happens"), FILES)),
    ("compatibility.md", table(("Pillow mode", "what happens"), MODES)),
    ("compatibility.md", table(("tensor or array", "what happens"), ARRAYS)),
    ("security.md", table(("file", "what happens"), ATTACKS)),
]


@pytest.mark.parametrize(("page", "rows"), TABLES)
def test_the_page_has_these_rows(page: str, rows: str) -> None:
    assert f"\n\n{rows}\n" in (DOCS / page).read_text(encoding="utf-8") + "\n"
