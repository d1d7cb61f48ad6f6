"""What the image tower sees: crops of the training photos, coarser, mirrored or damaged by so much.

The views are planned once, from a seed, and pass the frozen part of the tower once (`activations.py`); all that is
trained afterwards draws from them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unisim_metrics.images import load_image

from ..distortions import DISTORTIONS, Name
from . import photos
from .recipe import ViewPlan

SMALLEST_CROP = 0.6  # of the short side
COARSEST = 24  # pixels


@dataclass(frozen=True)
class View:
    """One image of the plan.

    Attributes:
        path: The photo, relative to the data root.
        group: Views with the same number show the same crop; unique over the plan.
        crop: `(top, left, side)` of a square, in pixels; None for the whole photo.
        coarse: The side that the crop is first reduced to, in pixels; None to leave it.
        distortion: Name of the damage, None for none.
        severity: Of the damage, in (0, 1]; 0 without.
        seed: Of the damage's noise.
        mirrored: Whether left and right change places.
    """

    path: str
    group: int
    crop: tuple[int, int, int] | None = None
    coarse: int | None = None
    distortion: Name | None = None
    severity: float = 0.0
    seed: int = 0
    mirrored: bool = False


def render(view: View, photo: Tensor) -> Tensor:
    """Make a view of its photo, uint8 `[3, H, W]`, of the size that the crop has."""
    if view.crop is not None:
        top, left, side = view.crop
        photo = photo[:, top : top + side, left : left + side]
    if view.coarse is not None and view.coarse < min(photo.shape[-2:]):
        small = F.interpolate(
            photo[None].float(),
            (view.coarse, view.coarse),
            mode="bicubic",
            antialias=True,
            align_corners=False,
        )
        photo = small[0].round().clamp(0, 255).to(torch.uint8)
    if view.distortion is not None:
        photo = DISTORTIONS[view.distortion](photo, view.severity, np.random.default_rng(view.seed))
    return photo.flip(-1) if view.mirrored else photo


def plan_views(root: Path, settings: ViewPlan, seed: int) -> list[View]:
    """Choose the views of every training photo.

    Of each photo `settings.views` crops, the first of them whole (Tiny-ImageNet's photos are small already: whole
    only); the last also coarse, in the same group. Of each of `settings.ladders` crops, most of them of sharp
    photos, the crop itself and three degrees of each of `settings.distortions` kinds of damage.
    """
    planner = _Planner(root, np.random.default_rng(seed))
    captioned = [planner.relative(path) for path in photos.flickr8k_captions(root, "train")]
    named = [planner.relative(path) for path in photos.tiny_imagenet_labels(root, held_out=False)]
    rendered = [planner.relative(path) for path in photos.training_renderings(root)]
    for path in captioned:
        planner.add_crops(path, settings.views)
    for path in named:
        planner.add_crops(path, 1)
    for path in rendered:
        planner.add_crops(path, settings.views, coarse=False)
    sharp = [planner.relative(path) for path in photos.bsds_photos(root, held_out=False)]
    for index in range(settings.ladders):
        from_sharp = planner.rng.random() < settings.sharp_share
        path = sharp[index % len(sharp)] if from_sharp else str(planner.rng.choice(captioned))
        planner.add_ladder(path, settings.distortions, settings.smallest_crop)
    return planner.views


def random_square(size: tuple[int, int], smallest: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a square of random side, at least `smallest`, inside a photo of `(height, width)`: `(top, left, side)`."""
    height, width = size
    side = int(rng.integers(min(smallest, height, width), min(height, width) + 1))
    return int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side


class _Planner:
    def __init__(self, root: Path, rng: np.random.Generator) -> None:
        self.root, self.rng = root, rng
        self.views: list[View] = []
        self.groups = 0
        self.sizes: dict[str, tuple[int, int]] = {}

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def add_crops(self, path: str, count: int, *, coarse: bool = True) -> None:
        whole = View(path, self._group(), mirrored=self._coin())
        crops = [
            View(path, self._group(), self._crop(path, SMALLEST_CROP), mirrored=self._coin())
            for _ in range(count - 1)
        ]
        self.views += [whole, *crops]
        if coarse:
            short = min(self._size(path))
            # As often between 24 and 48 px as between 48 and 96.
            side = round(COARSEST * 2 ** self.rng.uniform(0, np.log2(max(short, 2 * COARSEST) / COARSEST)))
            self.views.append(dataclasses.replace(self.views[-1], coarse=side))

    def add_ladder(self, path: str, distortions: int, smallest: int) -> None:
        short = min(self._size(path))
        crop = View(path, self._group(), self._crop(path, min(smallest / short, 1)), mirrored=self._coin())
        self.views.append(crop)
        names = list(DISTORTIONS)
        for name in (names[index] for index in self.rng.choice(len(names), size=distortions, replace=False)):
            # The same noise at all degrees, so that only its strength differs.
            seed = int(self.rng.integers(2**31))
            severe = self.rng.uniform(0.4, 1.0)
            mild = self.rng.uniform(0.05, severe - 0.3)
            middle = self.rng.uniform(mild + 0.1, severe - 0.1)
            self.views += [
                dataclasses.replace(crop, distortion=name, severity=float(severity), seed=seed)
                for severity in (mild, middle, severe)
            ]

    def _group(self) -> int:
        self.groups += 1
        return self.groups - 1

    def _coin(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def _crop(self, path: str, smallest: float) -> tuple[int, int, int]:
        size = self._size(path)
        return random_square(size, round(smallest * min(size)), self.rng)

    def _size(self, path: str) -> tuple[int, int]:
        if path not in self.sizes:
            height, width = load_image(self.root / path).shape[-2:]
            self.sizes[path] = (height, width)
        return self.sizes[path]


def write_plan(views: Sequence[View], folder: Path) -> None:
    """Write the plan as `views.json`."""
    rows = [dataclasses.asdict(view) for view in views]
    (folder / "views.json").write_text(json.dumps(rows), encoding="utf-8")


def read_plan(folder: Path) -> list[View]:
    """Read what `write_plan` wrote."""
    rows = json.loads((folder / "views.json").read_text(encoding="utf-8"))
    return [View(**row | {"crop": row["crop"] and tuple(row["crop"])}) for row in rows]
