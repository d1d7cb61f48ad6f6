"""Which of two images is better, brighter or sharper: KADID-10k, KonIQ-10k, PIPAL and SICE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..datasets.koniq import INDICATORS, SETS
from .distortions import LEVELS, brighten, distort
from .files import write_csv, write_image
from .photos import crops

__all__ = ["indicators", "write_kadid", "write_koniq", "write_pipal", "write_sice"]

_SIDE = 144
# By KADID-10k's own numbers.
_KADID_KINDS = {1: "gaussian blur", 10: "jpeg", 11: "white noise", 21: "pixelate"}
_STOPS = (-4, -2.5, -1, 0, 1.5)


def write_kadid(root: Path, seed: int) -> None:
    """Write photographs with four kinds of distortion at five levels each."""
    rows: list[list[object]] = [["dist_img", "ref_img", "dmos", "var"]]
    for reference, crop in enumerate(crops(4, _SIDE, seed + 1), start=73):
        write_image(root / "kadid10k" / "images" / f"I{reference:02d}.png", crop.image)
        for number, kind in _KADID_KINDS.items():
            for level in LEVELS:
                name = f"I{reference:02d}_{number:02d}_{level:02d}.png"
                write_image(root / "kadid10k" / "images" / name, distort(crop.image, kind, level, reference))
                rows.append([name, f"I{reference:02d}.png", round(5 - 0.8 * level, 2), 0.5])
    write_csv(root / "kadid10k" / "dmos.csv", rows)


def write_koniq(root: Path, seed: int) -> None:
    """Write photographs as they are and damaged ones, with a score of their damage and measured attributes."""
    grades = [f"c{grade}" for grade in LEVELS]
    rows: list[list[object]] = [["image_name", *grades, "c_total", "MOS", "SD", "set"]]
    measured: list[list[object]] = [["image_id", "brightness", "contrast", "colorfulness", "sharpness"]]
    kinds = ("gaussian blur", "white noise", "jpeg", "pixelate", "darken", "contrast change")
    for index, crop in enumerate(crops(48, _SIDE, seed + 2)):
        level = (0, 2, 4, 1, 3, 5)[(index + index // 12) % 6]
        # So that no photograph always comes with the same damage.
        kind = kinds[(index + index // 6) % len(kinds)]
        image = distort(crop.image, kind, level, index) if level else crop.image
        name = f"{10_000 + index}.jpg"
        write_image(root / "koniq10k" / "1024x768" / name, image)
        score = 80 - 12 * level
        part = "test" if index < 36 else "training"
        rows.append([name, *(int(grade == 5 - level) for grade in LEVELS), 100, score, 0.5, part])
        measured.append([name.removesuffix(".jpg"), *(round(value, 5) for value in indicators(image))])
    write_csv(root / SETS, rows)
    write_csv(root / INDICATORS, measured)


def indicators(image: Image.Image) -> tuple[float, float, float, float]:
    """Return brightness, contrast, colourfulness and sharpness of an image.

    Mean and deviation of luma; Hasler and Süsstrunk's measure (2003); the deviation of the Laplacian of luma.
    """
    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.float64), 2, 0) / 255
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    first, second = red - green, (red + green) / 2 - blue
    colourfulness = np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean())
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    return float(luma.mean()), float(luma.std()), float(colourfulness), float(laplacian.std())


def write_pipal(root: Path, seed: int) -> None:
    """Write originals with mild copies, which score more than 1,500 points, and severe ones, which do not."""
    rows: list[list[object]] = []
    for number, crop in enumerate(crops(4, _SIDE, seed + 3), start=5):
        photo = f"A{number:04d}"
        write_image(root / "PIPAL" / "Val_Ref" / f"{photo}.bmp", crop.image)
        for place, kind in enumerate(("gaussian blur", "jpeg", "white noise")):
            for level in LEVELS:
                name = f"{photo}_{place:02d}_{level:02d}.bmp"
                write_image(root / "PIPAL" / "Val_Dist" / name, distort(crop.image, kind, level, number))
                rows.append([name, f"{1590 - 60 * level:.4f}"])
    # The official file has no line of names.
    write_csv(root / "PIPAL" / "val_label.txt", rows)


def write_sice(root: Path, seed: int) -> None:
    """Write scenes in five exposures each."""
    for part, count in (("Dataset_Part1", 20), ("Dataset_Part2", 10)):
        for scene, crop in enumerate(crops(count, 320, seed + 40 + count), start=1):
            for exposure, stops in enumerate(_STOPS, start=1):
                path = root / "sice" / part / str(scene) / f"{exposure}.JPG"
                write_image(path, brighten(crop.image, stops))
            write_image(root / "sice" / part / "Label" / f"{scene}.JPG", crop.image)
