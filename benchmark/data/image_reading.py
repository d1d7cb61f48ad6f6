"""Images on their way from the disk to a model: read, hashed and prepared in threads, ahead of their use."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import Preprocessing, prepare_image
from unisim_metrics.images.decoding import load_image, pil_to_rgb, pil_to_tensor, unreadable

from ..datasets.base import Dataset

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageKey:
    """An image as a model is shown it. Sets that show the same file as it is share the image.

    Attributes:
        path: As it stands in the samples.
        shown_by: The id of the set that shows what the path means in a way of its own; empty for a plain file.
    """

    path: Path
    shown_by: str = ""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """What came of reading an image.

    Attributes:
        digest: The hash of its content and of how it is shown; None if it could not be read.
        pixels: uint8 `[3, H, W]`, at the size of the model's input where that is known; None if it could not be
            read, or was not needed.
        error: Why it could not be read.
    """

    digest: bytes | None = None
    pixels: Tensor | None = None
    error: str | None = None


def image_key(dataset: Dataset, path: Path) -> ImageKey:
    """Return what stands for an image of a set."""
    is_plain = type(dataset).image is Dataset.image and dataset.protocol == "paper"
    return ImageKey(path, "" if is_plain else dataset.id)


def show(dataset: Dataset, path: Path) -> Image.Image:
    """Return an RGB image of a set as it is shown.

    Raises:
        ImageReadError: If it cannot be read, whatever its set raises then.
    """
    try:
        return pil_to_rgb(dataset.image(path))
    except ImageReadError:
        raise
    except (OSError, ValueError, LookupError) as error:
        raise unreadable(path, error) from error


class ImageReader:
    """Reads images and prepares them for a model.

    Args:
        preprocessing: What the model wants; None for a model that does not tell, and prepares images itself.
        known: The hashes of images that need no pixels, for they are encoded already.
    """

    def __init__(self, preprocessing: Preprocessing | None, known: Container[bytes]) -> None:
        self.preprocessing = preprocessing
        self.known = known

    def read(self, key: ImageKey, dataset: Dataset) -> ReadImage:
        """Read one image on the calling thread.

        Args:
            key: The image.
            dataset: A set that has it.
        """
        try:
            if not key.shown_by:
                return self._read_file(key.path)
            return self._read_shown(show(dataset, key.path))
        except ImageReadError as error:
            return ReadImage(error=str(error))

    def _read_file(self, path: Path) -> ReadImage:
        try:
            digest = hashlib.sha256(b"file\0" + path.read_bytes()).digest()
        except OSError as error:
            raise unreadable(path, error) from error
        if digest in self.known:
            return ReadImage(digest)
        if self.preprocessing is None:
            return ReadImage(digest, load_image(path))
        return ReadImage(digest, prepare_image(path, self.preprocessing))

    def _read_shown(self, image: Image.Image) -> ReadImage:
        head = f"shown {image.width} {image.height}\0"
        digest = hashlib.sha256(head.encode() + image.tobytes()).digest()
        if digest in self.known:
            return ReadImage(digest)
        if self.preprocessing is None:
            return ReadImage(digest, pil_to_tensor(image))
        return ReadImage(digest, prepare_image(image, self.preprocessing))
