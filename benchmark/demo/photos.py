"""Photographs that come with scikit-image, in the public domain or under CC0, and crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from unisim_metrics.installation import install_extra

__all__ = ["PHOTOS", "Crop", "crops", "read_photo"]

# What each shows, in the words of its captions; the first is the fullest.
PHOTOS: dict[str, tuple[str, ...]] = {
    "astronaut.png": ("A smiling woman in an orange suit in front of a flag.", "A woman in an orange suit."),
    "chelsea.png": ("A close-up of the face of a cat.", "A brown cat looks away."),
    "coffee.png": ("A cup of coffee with a spoon on a wooden table.", "A cup on a saucer."),
    "rocket.jpg": ("A white rocket on its launch pad at night.", "A rocket between towers in the dark."),
    "motorcycle_left.png": ("A motorcycle is parked in a garage.", "A motorcycle in front of shelves."),
    "hubble_deep_field.jpg": ("Stars and galaxies in the black sky.", "Small lights on black."),
    "camera.png": (
        "A man with a camera on a tripod in a field, black and white.",
        "A man looks through a camera.",
    ),
    "coins.png": ("Rows of old coins on a dark cloth, black and white.", "Many round coins."),
    "moon.png": ("The surface of the moon with craters, black and white.", "Craters."),
    "brick.png": ("A wall of bricks, black and white.", "A brick wall."),
    "grass.png": ("Blades of grass from above, black and white.", "Much grass."),
    "gravel.png": ("Small stones on the ground, black and white.", "Gravel."),
}


@dataclass(frozen=True)
class Crop:
    """A part of a photograph.

    Attributes:
        name: The photograph's file.
        image: The part.
    """

    name: str
    image: Image.Image

    @property
    def captions(self) -> tuple[str, ...]:
        """What the photograph shows."""
        return PHOTOS[self.name]


@cache
def read_photo(name: str) -> Image.Image:
    """Return a photograph in RGB; do not change it.

    Raises:
        ModuleNotFoundError: If scikit-image is missing, or came without it.
    """
    package = find_spec("skimage")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"`unisim bench demo` needs scikit-image: {install_extra('demo')}.")
    path = Path(package.origin).parent / "data" / name
    if not path.is_file():
        raise ModuleNotFoundError(f"This scikit-image came without {name}: reinstall it.")
    with Image.open(path) as image:
        return image.convert("RGB")


def crops(count: int, side: int, seed: int, names: Sequence[str] = tuple(PHOTOS)) -> list[Crop]:
    """Return square parts of the photographs, in turn, no two of them alike.

    Args:
        count: How many.
        side: Their width and height.
        seed: Another seed takes other parts.
        names: Of which photographs.
    """
    random = np.random.default_rng([seed, 7])
    found = []
    for index in range(count):
        photo = read_photo(names[index % len(names)])
        width = int(min(photo.size) * random.uniform(0.6, 0.95))
        left, top = (int(random.integers(room + 1)) for room in (photo.width - width, photo.height - width))
        part = photo.crop((left, top, left + width, top + width))
        found.append(Crop(names[index % len(names)], part.resize((side, side), Image.Resampling.LANCZOS)))
    return found
