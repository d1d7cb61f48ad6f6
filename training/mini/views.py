"""Views of the training photos, and the teacher's reading of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import photos

CROP_AREA = (0.35, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class View:
    """A crop of a photo: `box` is (left, top, right, bottom) in pixels, None for the whole centre."""

    path: Path
    box: Box | None


def plan_views(root: Path, views: int, bsds_views: int, seed: int) -> list[View]:
    """Choose the views of every training photo: the centre first, then random resized crops."""
    rng = np.random.default_rng(seed)
    materials = [
        path
        for folder in photos.material_images(root)
        for index, path in enumerate(folder)
        if index not in photos.held_out_materials(len(folder))
    ]
    counted = [(path, views) for path in photos.flickr8k_captions(root, "train")]
    counted += [(path, views) for path in photos.tiny_imagenet_labels(root)]
    counted += [(path, views) for path in materials]
    counted += [(path, bsds_views) for path in photos.bsds_photos(root, held_out=False)]
    plan = []
    for path, count in counted:
        with Image.open(path) as image:
            size = image.size
        plan += [View(path, None)] + [View(path, random_box(size, rng)) for _ in range(count - 1)]
    return plan


def random_box(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Draw a crop of random area and aspect ratio inside an image of `size` (width, height)."""
    width, height = size
    area = width * height * rng.uniform(*CROP_AREA)
    ratio = np.exp(rng.uniform(*np.log(CROP_RATIO)))
    crop_width = float(min(np.sqrt(area * ratio), width))
    crop_height = float(min(np.sqrt(area / ratio), height))
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    return left, top, left + crop_width, top + crop_height


def render(view: View, size: int) -> Image.Image:
    """Render a view as a square RGB image of `size` pixels."""
    with Image.open(view.path) as image:
        rgb = image.convert("RGB")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    box = view.box or (left, top, left + side, top + side)
    return rgb.resize((size, size), Image.Resampling.BICUBIC, box=box)


def write_plan(plan: list[View], root: Path, folder: Path) -> None:
    """Write the plan as `views.json`, paths relative to the data root."""
    rows = [[str(view.path.relative_to(root)), view.box] for view in plan]
    (folder / "views.json").write_text(json.dumps(rows), encoding="utf-8")


class Views:
    """The folder that `teacher.py` wrote.

    Attributes:
        paths: The photo of each view, relative to the data root.
        features: The teacher's pooled features of each view, float32 `[N, C]`.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        rows = json.loads((folder / "views.json").read_text(encoding="utf-8"))
        self.paths: list[str] = [path for path, _ in rows]
        self.plan = [View(root / path, None if box is None else tuple(box)) for path, box in rows]
        self.features = torch.from_numpy(np.load(folder / "features.npy"))

    def __len__(self) -> int:
        return len(self.plan)

    @cached_property
    def rows_of(self) -> dict[str, list[int]]:
        """The rows of each photo, by its path relative to the data root."""
        rows: dict[str, list[int]] = {}
        for row, path in enumerate(self.paths):
            rows.setdefault(path, []).append(row)
        return rows

    def pixels(self, rows: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
        """Render rows in their order, uint8 `[N, 3, size, size]`, each mirrored with probability one half."""
        images = np.stack([np.asarray(render(self.plan[row], size)) for row in rows])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        mirrored = torch.from_numpy(rng.random(len(rows)) < 0.5)
        return torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
