"""Triplets of photos and their distortions, as files in the form in which anyone brings triplets of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torchvision.transforms.v2.functional as TF
from torch import Tensor
from torchvision.io import write_png
from torchvision.transforms.v2 import InterpolationMode
from tqdm import tqdm

from unisim_metrics.images import load_image

from ...distortions import DISTORTIONS
from ...mini import photos
from ...mini.views import random_square
from .recipe import QUALITY, SIMILARITY, Triplets


def write_triplets(root: Path, out: Path, settings: Triplets, seed: int) -> None:
    """Write the triplets of `QUALITY` and `SIMILARITY` and their images.

    Each draw takes a distortion and two degrees of it, the same noise in both. Of the original and the two come three
    quality pairs and one image triplet. All draws of a photo share its original, so that they are held out together.

    Args:
        root: The data root, see `unisim_metrics.training.mini.photos`.
        out: The folder.
        settings: How many.
        seed: Of everything.
    """
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    quality, similarity = [], []
    for names in tqdm(_draw(root, images, settings, seed), desc="triplets", unit=" draws"):
        original, mild, severe = ({"image": f"images/{name}"} for name in names)
        quality += [
            _line("quality", None, better, worse)
            for better, worse in ((original, mild), (mild, severe), (original, severe))
        ]
        similarity.append(_line("image-image", original, mild, severe))
    for name, lines in ((QUALITY, quality), (SIMILARITY, similarity)):
        (out / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _draw(root: Path, images: Path, settings: Triplets, seed: int) -> Iterator[tuple[str, str, str]]:
    """Write the images of each draw, and yield their names: original, mild, severe."""
    rng = np.random.default_rng((seed, 4))
    sharp = photos.bsds_photos(root, held_out=False)
    small = list(photos.flickr8k_captions(root, "train"))
    small = [small[index] for index in rng.choice(len(small), settings.small_photos, replace=False)]
    for place, path in enumerate([*sharp, *small]):
        photo = load_image(path)
        if place < len(sharp):
            height, width = photo.shape[-2:]
            top, left, side = random_square((height, width), settings.smallest_crop, rng)
            photo = photo[:, top : top + side, left : left + side]
        original = f"{place}.png"
        _write(photo, images / original, settings.image_size)
        for draw in range(settings.sharp_draws if place < len(sharp) else 1):
            name = list(DISTORTIONS)[rng.integers(len(DISTORTIONS))]
            severe = rng.uniform(0.25, 1.0)
            mild = rng.uniform(0.05, severe - 0.15)
            noise = int(rng.integers(2**31))
            files = [f"{place}-{draw}-{name}-{degree:.2f}.png" for degree in (mild, severe)]
            for file, degree in zip(files, (mild, severe), strict=True):
                distorted = DISTORTIONS[name](photo, degree, np.random.default_rng(noise))
                _write(distorted, images / file, settings.image_size)
            yield original, files[0], files[1]


def _write(photo: Tensor, file: Path, size: int) -> None:
    resized = TF.resize(photo, [size], interpolation=InterpolationMode.BICUBIC, antialias=True)
    write_png(TF.center_crop(resized, [size, size]).contiguous(), str(file))


def _line(task: str, reference: Any, better: Any, worse: Any) -> str:
    record = {
        "task": task,
        "split": "train",
        "reference": reference,
        "alternatives": [better, worse],
        "label": 0,
    }
    return json.dumps(record)
