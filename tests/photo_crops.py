"""Real photographs for tests: crops of those that come with scikit-image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from unisim_metrics.cli.demo import PHOTOS, read_photos

_PROMPTS = list(PHOTOS.values())


def photo_crops(count: int, seed: int = 0) -> list[Image.Image]:
    """Crops of many sizes and shapes, of all photographs in turn; no two alike."""
    random = np.random.default_rng(seed)
    photos = list(read_photos().values())
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        width, height = (int(side * random.uniform(0.2, 0.6)) for side in photo.size)
        left, top = (
            int(random.integers(0, room + 1)) for room in (photo.width - width, photo.height - height)
        )
        crops.append(photo.crop((left, top, left + width, top + height)))
    return crops


def crop_prompts(count: int) -> list[str]:
    """A text for each crop of `photo_crops`, of the photograph that it is from."""
    return [_PROMPTS[index % len(_PROMPTS)] for index in range(count)]
