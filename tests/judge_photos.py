"""Real photographs of odd sizes, and texts for them: those that come with scikit-image, matplotlib and gradio."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

_IN_PACKAGES = {
    ("skimage", "data/astronaut.png"): "a smiling woman in an orange suit",
    ("skimage", "data/chelsea.png"): "a cat seen from near by",
    ("skimage", "data/coffee.png"): "a cup of coffee on a wooden table",
    ("skimage", "data/rocket.jpg"): "a rocket on its launch pad at night",
    ("skimage", "data/motorcycle_left.png"): "a motorcycle in a garage",
    ("skimage", "data/hubble_deep_field.jpg"): "stars in the night sky",
    ("skimage", "data/camera.png"): "a photographer with a camera on a tripod",
    ("skimage", "data/retina.jpg"): "the retina of a human eye",
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"): "an admiral in uniform before a flag",
    ("gradio", "media_assets/images/cheetah1.jpg"): "a cheetah in the grass",
    ("gradio", "media_assets/images/lion.jpg"): "a lion that looks into the distance",
    ("gradio", "media_assets/images/tower.jpg"): "a tower of iron in a city",
}


def _open(package: str, path: str) -> Image.Image:
    found = find_spec(package)
    assert found is not None and found.origin is not None
    return Image.open(Path(found.origin).parent / path).convert("RGB")


def real_photos(smallest: int, largest: int) -> list[Image.Image]:
    """Two crops of each photograph, 24 in all, brought to sides between two odd lengths."""
    random = np.random.default_rng(0)
    crops = []
    for photo in [_open(*place) for place in _IN_PACKAGES] * 2:
        size = [int(side * random.uniform(0.3, 0.9)) for side in photo.size]
        left, top = (
            int(random.integers(0, room - side)) for room, side in zip(photo.size, size, strict=True)
        )
        width, height = (2 * int(random.integers(smallest // 2, largest // 2 + 1)) + 1 for _ in size)
        crops.append(photo.crop((left, top, left + size[0], top + size[1])).resize((width, height)))
    return crops


PHOTOS = real_photos(33, 75)
CAPTIONS = [f"{text}{end}" for end in ("", ", one more time") for text in _IN_PACKAGES.values()]
