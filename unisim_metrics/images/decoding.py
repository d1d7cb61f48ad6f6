"""Image files and Pillow images of every kind, as plain RGB, upright as their metadata ask."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unisim_metrics.errors import ImageReadError
from unisim_metrics.images.threads import run_tasks

DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    *(RuntimeError, ImportError, MemoryError),
    *(Image.DecompressionBombError, Warning),
)
"""What Pillow's decoders raise on files that are damaged, made to harm, or need a library that is not there.

Warnings, that of a decompression bomb first, are errors where a program made them so (`warnings.simplefilter`).
"""

_PROGRAMS = ("EPS", "WMF")  # Pillow would start Ghostscript, or hand them to Windows

# What files begin with that Pillow reads with a plugin alone, from the fourth byte on where the first tell a size.
_FOREIGN_HEADS = {
    **dict.fromkeys((b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    **dict.fromkeys((b"ftypavif", b"ftypavis"), "AVIF"),  # in older versions
    b"JXL \r\n\x87\n": "JPEG XL",
}

_TORCHVISION_MODES = ("L", "RGB")  # not CMYK: Adobe's are inverted, which Pillow alone knows

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


def load_image(path: str | os.PathLike[str]) -> Tensor:
    """Decodes an image file, upright as its metadata ask.

    JPEG files are decoded by torchvision, which gives the bytes that Pillow gives, faster; all others, CMYK
    JPEG among them, by Pillow. Transparency is composited onto white, 16-bit images keep their high byte, of
    several frames the first is taken.

    Args:
        path: The file.

    Returns:
        ``[3, H, W]`` uint8 RGB tensor.

    Raises:
        ImageReadError: If the file is missing, damaged, too large for ``PIL.Image.MAX_IMAGE_PIXELS``, or not an
            image. The message names the file.
    """
    try:
        return _decode(Path(path).read_bytes())
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error


def decode_image(
    data: bytes, name: str = "image", *, max_pixels: int | None = None, formats: tuple[str, ...] | None = None
) -> Tensor:
    """Decodes the bytes of an image file as ``load_image`` does the file.

    Args:
        data: The encoded image.
        name: What messages call the argument that holds it.
        max_pixels: The most pixels (height times width), which the header has to announce; Pillow's limit if None.
        formats: Pillow's names of the formats that are tried; all if None.

    Returns:
        ``[3, H, W]`` uint8 RGB tensor.

    Raises:
        ImageReadError: If the image is damaged, too large, or of another format. The message names the argument.
    """
    try:
        return _decode(data, max_pixels, formats)
    except DECODING_ERRORS as error:
        raise ImageReadError(
            f"Argument `{name}` must hold an encoded image, but it could not be read: {_reason(error)}."
        ) from error


def _decode(data: bytes, max_pixels: int | None = None, formats: tuple[str, ...] | None = None) -> Tensor:
    with _open(io.BytesIO(data), formats) as image:
        # Pillow has read no more than the header here.
        if max_pixels is not None and image.width * image.height > max_pixels:
            raise ValueError(f"{image.width} × {image.height} pixels are more than the {max_pixels} allowed")
        if image.format in {"JPEG", "MPO"} and image.mode in _TORCHVISION_MODES:
            decoded = _decode_jpeg(data)
            if decoded is not None and decoded.shape[1:] == (image.height, image.width):
                return turn_tensor(decoded, orientation_of(image))
        return pil_to_tensor(_to_rgb(image))


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Decodes an image file as ``load_image`` does, into an RGB Pillow image.

    Args:
        path: The file.

    Raises:
        ImageReadError: If the file cannot be read. The message names it.
    """
    try:
        with open(path, "rb") as file, _open(file) as image:
            return _to_rgb(image)
    except DECODING_ERRORS as error:
        raise unreadable(path, error) from error


def _open(file: IO[bytes], formats: tuple[str, ...] | None = None) -> Image.Image:
    """Opens a file as Pillow does, whose error names a format that it would read with a plugin."""
    try:
        return Image.open(file, formats=formats)
    except UnidentifiedImageError as error:
        file.seek(4)
        name = _FOREIGN_HEADS.get(file.read(8))
        if name is None:
            raise
        raise ValueError(f"Pillow reads {name} with a plugin alone: convert it to JPEG or PNG") from error


def unreadable(path: str | os.PathLike[str], error: BaseException) -> ImageReadError:
    """The error that names the file, or says what else was read, and why it cannot be."""
    return ImageReadError(f"Image file '{os.fspath(path)}' could not be read: {_reason(error)}.")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(reason).rstrip(".")


def open_images(paths: Sequence[str | os.PathLike[str]], workers: int = 2) -> list[Tensor]:
    """Decodes several image files in threads.

    Args:
        paths: The files.
        workers: How many threads decode at a time.

    Returns:
        One ``[3, H, W]`` uint8 tensor a file, in order.

    Raises:
        ImageReadError: For the first file that cannot be read.
    """
    return run_tasks([lambda path=path: load_image(path) for path in paths], workers)  # type: ignore[misc]


def pil_to_rgb(image: Image.Image, name: str = "<Pillow image>") -> Image.Image:
    """An upright RGB image, all of it decoded, from a Pillow image of any mode.

    Transparency is composited onto white, as transformers' image processors do. 16-bit grey keeps its high
    byte: Pillow's own conversion would clip it to white.

    Args:
        image: The image, which may have been opened and not been read yet.
        name: What messages call an image that comes from no named file.

    Raises:
        ImageReadError: If the pixels cannot be decoded, the image was closed, or its mode has no fixed range of
            values (``F``, or ``I`` that no 16-bit file explains) or no conversion to RGB.
    """
    name = getattr(image, "filename", "") or name
    closed = bool(getattr(image, "tile", ())) and getattr(image, "fp", None) is None
    try:
        _load(image)
    except DECODING_ERRORS as error:
        # Pillow takes an image for loaded once it failed, and would show what it has of it the next time.
        image.close()
        reason = ValueError("it was closed before its pixels were read") if closed else error
        raise unreadable(name, reason) from error
    try:
        return _to_rgb(image)
    except DECODING_ERRORS as error:
        raise unreadable(name, error) from error


def _load(image: Image.Image) -> None:
    if image.format in _PROGRAMS:
        raise ValueError(f"{image.format} files are programs, which an interpreter would have to run")
    image.load()


def _to_rgb(image: Image.Image) -> Image.Image:
    # First of all, and outside of every `try`: some formats read the pixels to find their metadata, where an
    # error would be lost, and the image be left half decoded.
    _load(image)
    sixteen_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"})
    if image.mode in {"F", "I"} and not sixteen_bit:
        raise ValueError(
            f"a Pillow image must have 8 or 16 bits a channel, but got mode {image.mode!r}, whose range is not "
            "known: convert it to 'L' or 'RGB' first"
        )
    image = turn_image(image, orientation_of(image))
    if sixteen_bit:
        return _high_bytes(image).convert("RGB")
    if image.mode in {"RGBa", "La"}:  # colours already multiplied by their transparency
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_bytes(image: Image.Image) -> Image.Image:
    """8-bit grey of 16-bit grey, white where the one level that the file calls transparent stands."""
    import numpy as np

    levels = np.asarray(image)
    grey = (levels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Image.fromarray(grey)


def pil_to_tensor(image: Image.Image) -> Tensor:
    """``[3, H, W]`` uint8 tensor of an RGB Pillow image, in memory of its own."""
    import numpy as np

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _decode_jpeg(data: bytes) -> Tensor | None:
    """The pixels, or None where torchvision cannot tell: then Pillow decodes, or says what is wrong."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels: Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except (ImportError, RuntimeError):
        return None
    return pixels


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
