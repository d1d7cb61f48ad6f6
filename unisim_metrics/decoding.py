"""Image files and Pillow images of every kind, as plain RGB."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from unisim_metrics.errors import ImageReadError
from unisim_metrics.threads import run_tasks

__all__ = ["load_image", "open_images", "pil_to_rgb", "pil_to_tensor", "unreadable"]

_EXIF_ORIENTATION = 0x0112


def load_image(path: str | os.PathLike[str]) -> Tensor:
    """Decodes an image file, upright by its EXIF tag.

    JPEG files are decoded by torchvision, which gives the bytes that Pillow gives, faster; all others, CMYK
    JPEG among them, by Pillow. Transparency is composited onto white, 16-bit images keep their high byte, of
    several frames the first is taken.

    Args:
        path: The file.

    Returns:
        ``[3, H, W]`` uint8 RGB tensor.

    Raises:
        ImageReadError: If the file is missing, truncated or not an image. The message names the file.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            # Pillow has read no more than the header here.
            if image.format in {"JPEG", "MPO"} and image.mode in {"L", "RGB"}:
                decoded = _decode_jpeg(data)
                if decoded is not None:
                    return decoded
            return pil_to_tensor(pil_to_rgb(image))
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and more on bad files
        raise unreadable(path, error) from error


def unreadable(path: str | os.PathLike[str], error: Exception) -> ImageReadError:
    """The error that names the file and says why it cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        reason = "not an image of a known format"
    else:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ImageReadError(f"Image file '{os.fspath(path)}' could not be read: {reason}.")


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


def pil_to_rgb(image: Image.Image) -> Image.Image:
    """An upright RGB image from a Pillow image of any mode.

    Transparency is composited onto white, as transformers' image processors do. 16-bit grey keeps its high
    byte: Pillow's own conversion would clip it to white.

    Raises:
        ValueError: If the mode has no fixed range of values (``F``, or ``I`` that no 16-bit file explains) or
            no conversion to RGB.
    """
    sixteen_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"})
    if image.mode in {"F", "I"} and not sixteen_bit:
        raise ValueError(
            f"A Pillow image must have 8 or 16 bits a channel, but got mode {image.mode!r}, whose range is not "
            "known: convert it to 'L' or 'RGB' first."
        )
    image = _upright(image)
    if sixteen_bit:
        import numpy as np

        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBa", "La"}:  # colours already multiplied by their transparency
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def pil_to_tensor(image: Image.Image) -> Tensor:
    """``[3, H, W]`` uint8 tensor of an RGB Pillow image, in memory of its own."""
    import numpy as np

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _decode_jpeg(data: bytes) -> Tensor | None:
    """The pixels, or None where torchvision cannot tell: then Pillow decodes, or says what is wrong."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels: Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    except (ImportError, RuntimeError):
        return None
    return pixels


def _upright(image: Image.Image) -> Image.Image:
    """Turns the image as its EXIF tag asks; an EXIF block that cannot be read asks for nothing."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a broken block raises whatever its parser meets
        return image
    return ImageOps.exif_transpose(image) if orientation != 1 else image
