"""Which of two images is nearer to a third: NIGHTS, BAPPS and PieAPP, with photographs and copies of them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..datasets.bapps import KINDS
from .distortions import LEVELS, distort
from .files import write_csv, write_image
from .photos import crops

__all__ = ["write_bapps", "write_nights", "write_pieapp"]

_SIDE = 128
# What stands in for the distortions that BAPPS has by these names.
_BAPPS_KINDS = {
    "cnn": "jpeg",
    "color": "contrast change",
    "deblur": "gaussian blur",
    "frameinterp": "darken",
    "superres": "pixelate",
    "traditional": "white noise",
}


def write_nights(root: Path, seed: int) -> None:
    """Write photographs with a near and a far variation each: a nearby crop, and a mirrored one in other colours."""
    random = np.random.default_rng([seed, 1])
    columns = ("id", "left_vote", "right_vote", "votes", "ref_path", "left_path", "right_path", "prompt")
    rows: list[list[object]] = [[*columns, "split", "is_imagenet"]]
    for index, crop in enumerate(crops(28, _SIDE + 16, seed + 1)):
        reference, near = (crop.image.crop((shift, shift, shift + _SIDE, shift + _SIDE)) for shift in (0, 8))
        far = ImageOps.mirror(ImageOps.invert(near)) if index % 2 else distort(near, "darken", 4)
        right = int(random.integers(2))
        names = [f"ref/000/{index:03d}.png", *(f"distort/000/{index:03d}_{side}.png" for side in (0, 1))]
        for name, image in zip(names, (reference, *((near, far)[:: 1 - 2 * right])), strict=True):
            write_image(root / "nights" / name, image)
        split = "train" if index >= 20 else "test"
        rows.append([index, 1 - right, right, 6 + index % 3, *names, crop.captions[0], split, False])
    write_csv(root / "nights" / "data.csv", rows)


def write_bapps(root: Path, seed: int) -> None:
    """Write patches with two distortions of one kind, of which the milder one is judged nearer."""
    random = np.random.default_rng([seed, 2])
    for number, kind in enumerate(KINDS):
        folder = root / "bapps" / "val" / kind
        (folder / "judge").mkdir(parents=True, exist_ok=True)
        for index, crop in enumerate(crops(20, 64, seed + 20 + number)):
            right = int(random.integers(2))
            copies = [distort(crop.image, _BAPPS_KINDS[kind], level, index) for level in (2, 5)]
            for part, image in zip(("ref", "p0", "p1"), (crop.image, *copies[:: 1 - 2 * right]), strict=True):
                write_image(folder / part / f"{index:06d}.png", image)
            np.save(folder / "judge" / f"{index:06d}.npy", np.array([float(right)], dtype=np.float32))


def write_pieapp(root: Path, seed: int) -> None:
    """Write originals with distortions of five strengths, of which the milder one is preferred."""
    folder = root / "pie_app"
    names = []
    for number, crop in enumerate(crops(6, _SIDE, seed + 3), start=1):
        name = f"ref_{number}"
        names.append(f"{name}.png")
        write_image(folder / "reference_images" / "test" / names[-1], crop.image)
        copies: dict[str, tuple[int, Image.Image]] = {
            f"distort_{number}_{kind.replace(' ', '_')}_{level}.png": (
                level,
                distort(crop.image, kind, level),
            )
            for level, kind in zip(LEVELS, ("gaussian blur", "white noise") * 3, strict=False)
        }
        for file, (_, image) in copies.items():
            write_image(folder / "distorted_images" / "test" / name / file, image)
        rows: list[list[object]] = [
            ["ref. image", " distorted image A", " distorted image B", " preference for A"]
        ]
        rows += [[names[-1], names[-1], file, 0.95] for file in copies]
        for first, second in combinations(copies, 2):
            share = 0.5 + 0.12 * (copies[second][0] - copies[first][0])
            rows.append([names[-1], first, second, round(min(share, 1), 2)])
        write_csv(folder / "labels" / "test" / f"{name}_pairwise_labels.csv", rows)
    (folder / "test_reference_list.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
