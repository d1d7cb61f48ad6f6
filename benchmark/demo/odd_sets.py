"""Which image does not belong, and which show the same: CIFAR-100, ImageNet and the revisited landmarks."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ..datasets.odd_one_out import CIFAR100_COARSE_CLASSES, CIFAR100_FILE, IMAGENET_CLASSES
from .distortions import brighten, distort
from .files import write_image
from .photos import PHOTOS, crops
from .scenes import COLOURS, GROUNDS, OBJECTS, Scene, paint

__all__ = ["write_cifar", "write_imagenet", "write_revisitop"]

_CIFAR_EACH, _IMAGENET_EACH, _SIDE = 4, 5, 128
_TEXTURES = ("brick.png", "gravel.png", "coins.png", "hubble_deep_field.jpg")

# One class out of each of the paper's groups, by its number in ImageNet: the photograph that it is cut from, or the
# ground and the outlines that it is drawn with. An outline of two corners is an ellipse.
_Outline = Sequence[tuple[float, float]]
_IMAGENET: dict[int, str | tuple[tuple[int, int, int], tuple[int, int, int], tuple[_Outline, ...]]] = {
    1: (
        (40, 110, 160),
        (250, 140, 30),
        (
            ((0.2, 0.35), (0.7, 0.65)),
            ((0.65, 0.5), (0.9, 0.3), (0.9, 0.7)),
            ((0.4, 0.36), (0.6, 0.2), (0.6, 0.4)),
        ),
    ),
    281: "chelsea.png",
    578: (
        (226, 214, 220),
        (150, 30, 90),
        (((0.4, 0.15), (0.6, 0.15), (0.62, 0.45), (0.85, 0.95), (0.15, 0.95), (0.38, 0.45)),),
    ),
    665: "motorcycle_left.png",
    483: (
        (170, 200, 235),
        (120, 110, 100),
        (
            ((0.15, 0.95), (0.15, 0.3), (0.3, 0.3), (0.3, 0.95)),
            ((0.7, 0.95), (0.7, 0.3), (0.85, 0.3), (0.85, 0.95)),
            ((0.3, 0.95), (0.3, 0.5), (0.7, 0.5), (0.7, 0.95)),
            ((0.13, 0.3), (0.225, 0.1), (0.32, 0.3)),
            ((0.68, 0.3), (0.775, 0.1), (0.87, 0.3)),
        ),
    ),
    541: (
        (90, 60, 50),
        (200, 50, 40),
        (
            ((0.2, 0.3), (0.8, 0.3), (0.8, 0.75), (0.2, 0.75)),
            ((0.2, 0.6), (0.8, 0.9)),
            ((0.2, 0.18), (0.8, 0.42)),
        ),
    ),
}


def write_cifar(root: Path, seed: int) -> None:
    """Write 32 × 32 images of twenty classes: objects by shape and colour, and four textures."""
    kinds = [(shape, colour) for shape in OBJECTS for colour in COLOURS]
    images: list[Image.Image] = []
    for number, (shape, colour) in enumerate(kinds):
        for index in range(_CIFAR_EACH):
            ground = tuple(GROUNDS)[index % 3]
            scene = Scene(shape, colour, ground, seed * 1000 + number * 10 + index)
            images.append(paint(scene, 64).resize((32, 32), Image.Resampling.LANCZOS))
    for texture in _TEXTURES:
        images += [crop.image for crop in crops(_CIFAR_EACH, 32, seed + 8, (texture,))]
    labels = [index // _CIFAR_EACH for index in range(len(images))]
    assert set(labels) == set(range(CIFAR100_COARSE_CLASSES))
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1).ravel() for image in images])
    content = {
        b"filenames": [f"demo_{index:05d}.png".encode() for index in range(len(images))],
        b"batch_label": b"testing batch 1 of 1",
        b"fine_labels": labels,
        b"coarse_labels": labels,
        b"data": pixels,
    }
    path = root / CIFAR100_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_imagenet(root: Path, seed: int) -> None:
    """Write a thousand folders of classes, of which one in each of the six groups has images."""
    folder = root / "imagenet" / "val"
    for number in range(IMAGENET_CLASSES):
        (folder / f"n{number:08d}").mkdir(parents=True, exist_ok=True)
    for number, look in _IMAGENET.items():
        if isinstance(look, str):
            images = [crop.image for crop in crops(_IMAGENET_EACH, _SIDE, seed + number, (look,))]
        else:
            images = [_draw(*look, seed=[seed, number, index]) for index in range(_IMAGENET_EACH)]
        for index, image in enumerate(images, start=1):
            name = f"ILSVRC2012_val_{number * 10 + index:08d}.JPEG"
            write_image(folder / f"n{number:08d}" / name, image)


def _draw(
    ground: tuple[int, int, int],
    colour: tuple[int, int, int],
    outlines: Sequence[_Outline],
    seed: Sequence[int],
) -> Image.Image:
    random = np.random.default_rng(list(seed))
    canvas = np.array(ground) * random.uniform(0.85, 1.15) + random.normal(0, 8, (_SIDE, _SIDE, 1))
    picture = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    size, left, top = random.uniform(0.7, 0.95), random.uniform(0, 0.1), random.uniform(0, 0.1)
    pen = ImageDraw.Draw(picture)
    for index, outline in enumerate(outlines):
        points = [((left + x * size) * _SIDE, (top + y * size) * _SIDE) for x, y in outline]
        fill = tuple(int(part * (1 - 0.18 * (index % 3))) for part in colour)
        if len(points) == 2:
            pen.ellipse(points, fill=fill)
        else:
            pen.polygon(points, fill=fill)
    return ImageOps.mirror(picture) if random.uniform() < 0.5 else picture


def write_revisitop(root: Path, seed: int) -> None:
    """Write galleries in which parts of the same photograph are to be found, among parts of others."""
    names = tuple(PHOTOS)
    for folder, own, others in (
        ("roxford5k", names[:4], names[8:]),
        ("rparis6k", names[4:8], names[8:]),
    ):
        images = root / "retrieval" / "revisitop" / folder / "jpg"
        gallery: list[str] = []
        queries: list[str] = []
        truths: list[dict[str, Any]] = []

        def add(name: str, image: Image.Image, images: Path = images, gallery: list[str] = gallery) -> int:
            write_image(images / f"{name}.jpg", image)
            gallery.append(name)
            return len(gallery) - 1

        for photo in own:
            stem = Path(photo).stem
            parts = [crop.image for crop in crops(8, _SIDE, seed + 9, (photo,))]
            easy = [add(f"{stem}_{place:06d}", part) for place, part in enumerate(parts[:3], start=1)]
            damaged = (brighten(ImageOps.mirror(parts[3]), -2), distort(parts[4], "gaussian blur", 4))
            hard = [add(f"{stem}_{place:06d}", part) for place, part in enumerate(damaged, start=4)]
            corner = parts[5].crop((0, 0, _SIDE // 5, _SIDE // 5)).resize((_SIDE, _SIDE))
            junk = [add(f"{stem}_{6:06d}", corner)]
            for place, part in enumerate(parts[6:], start=1):
                queries.append(f"{stem}_query_{place}")
                write_image(images / f"{queries[-1]}.jpg", part)
                box = (0.0, 0.0, float(_SIDE), float(_SIDE))
                truths.append({"bbx": box, "easy": easy, "hard": hard, "junk": junk})
        for place, crop in enumerate(crops(24, _SIDE, seed + 10, others)):
            add(f"other_{place:06d}", crop.image)
        content = {"gnd": truths, "imlist": gallery, "qimlist": queries}
        (images.parent / f"gnd_{folder}.pkl").write_bytes(pickle.dumps(content, protocol=2))
