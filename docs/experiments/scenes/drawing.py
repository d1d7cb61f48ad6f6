"""Drawn scenes with captions: one coloured object on a textured ground, each scene a function of its seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

Shape = Literal["ball", "box", "tent"]
Colour = Literal["red", "yellow", "green", "blue", "purple"]
Ground = Literal["grass", "beach", "snow", "water", "night"]

SIDE = 64
SHAPES: tuple[Shape, ...] = ("ball", "box", "tent")
COLOURS: dict[Colour, tuple[int, int, int]] = {
    "red": (216, 32, 36),
    "yellow": (246, 208, 20),
    "green": (24, 184, 76),
    "blue": (28, 84, 228),
    "purple": (158, 40, 204),
}
PLACES: dict[Ground, str] = {
    "grass": "on the grass",
    "beach": "on the beach",
    "snow": "in the snow",
    "water": "on the water",
    "night": "at night",
}
GROUNDS: tuple[Ground, ...] = tuple(PLACES)

_ZOOM = 4  # drawn so much larger, then reduced: smooth edges
# Top and bottom of the sky, far and near ground, and how strong the ground's texture is. All duller than any object.
_LOOKS: dict[Ground, tuple[tuple[int, int, int], ...]] = {
    "grass": ((150, 186, 214), (206, 220, 226), (122, 138, 84), (84, 104, 54), (20, 24, 16)),
    "beach": ((164, 198, 218), (218, 226, 224), (214, 194, 150), (194, 168, 124), (14, 13, 11)),
    "snow": ((164, 170, 182), (206, 210, 216), (236, 240, 244), (216, 224, 236), (8, 8, 8)),
    "water": ((218, 206, 188), (232, 224, 206), (116, 150, 166), (70, 108, 134), (26, 26, 24)),
    "night": ((12, 14, 28), (38, 40, 60), (44, 44, 52), (28, 28, 34), (9, 9, 10)),
}


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        shape: Of the object.
        colour: Of the object.
        ground: What it stands on.
        seed: Decides all else: the place and size of the object, the horizon, the light, the texture.
    """

    shape: Shape
    colour: Colour
    ground: Ground
    seed: int


def random_scene(
    seed: int, shape: Shape | None = None, colour: Colour | None = None, ground: Ground | None = None
) -> Scene:
    """Draw the attributes that are not given by chance. Giving one does not change the others."""
    rng = np.random.default_rng([seed, 0])
    chosen = (rng.integers(len(SHAPES)), rng.integers(len(COLOURS)), rng.integers(len(GROUNDS)))
    return Scene(
        shape=shape or SHAPES[chosen[0]],
        colour=colour or tuple(COLOURS)[chosen[1]],
        ground=ground or GROUNDS[chosen[2]],
        seed=seed,
    )


def caption(shape: str, colour: str | None = None, ground: Ground | None = None) -> str:
    """Describe a scene: "a red ball on the grass"; what is None is left open."""
    words = ["a", colour, shape, None if ground is None else PLACES[ground]]
    return " ".join(word for word in words if word)


def random_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Describe a scene, leaving its colour or its ground open one time in three each."""
    colour, ground = rng.random(2) > 1 / 3
    return caption(scene.shape, scene.colour if colour else None, scene.ground if ground else None)


def draw(scene: Scene) -> Image.Image:
    """Draw a scene: 64 × 64 pixels, RGB."""
    rng = np.random.default_rng([scene.seed, 1])
    light = rng.uniform(0.94, 1.06)
    picture = _background(scene.ground, rng, light).resize((SIDE * _ZOOM,) * 2, Image.Resampling.BILINEAR)
    radius = rng.uniform(11, 17) * _ZOOM
    x = rng.uniform(19, SIDE - 19) * _ZOOM
    floor = rng.uniform(46, 57) * _ZOOM
    if scene.ground != "water":
        _shadow(picture, x, floor, radius)
    base = np.array(COLOURS[scene.colour]) * light * (0.8 if scene.ground == "night" else 1.0)
    _OBJECTS[scene.shape](ImageDraw.Draw(picture), x, floor, radius, base)
    return picture.reduce(_ZOOM)


def pixels(scenes: Iterable[Scene]) -> Tensor:
    """Draw scenes as one batch: `[N, 3, 64, 64]`, uint8."""
    drawn = np.stack([np.asarray(draw(scene)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()


def _background(ground: Ground, rng: np.random.Generator, light: float) -> Image.Image:
    high, low, far, near, strength = (np.array(value, dtype=float) for value in _LOOKS[ground])
    horizon = int(rng.integers(22, 34))
    canvas = np.empty((SIDE, SIDE, 3))
    canvas[:horizon] = _blend(high, low, horizon)
    canvas[horizon:] = _blend(far, near, SIDE - horizon)
    # Waves lie flat, blades of grass stand up, sand and snow are even.
    grain = {"water": (22, 5), "grass": (10, 26)}.get(ground, (12, 12))
    canvas[horizon:] += _texture(grain, rng)[horizon:, :, None] * strength
    if ground == "night":
        _stars(canvas, horizon, rng)
    return Image.fromarray((canvas * light).clip(0, 255).astype(np.uint8))


def _blend(start: np.ndarray, end: np.ndarray, rows: int) -> np.ndarray:
    return np.asarray(start + (end - start) * np.linspace(0, 1, rows)[:, None, None])


def _texture(grain: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of so many bumps down and across."""
    noise = Image.fromarray(rng.normal(size=grain).astype(np.float32))
    return np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _stars(canvas: np.ndarray, horizon: int, rng: np.random.Generator) -> None:
    rows, columns = rng.integers(1, horizon - 6, size=9), rng.integers(1, SIDE - 1, size=9)
    canvas[rows, columns] = rng.uniform(150, 240, size=(9, 1))


def _shadow(picture: Image.Image, x: float, floor: float, radius: float) -> None:
    shade = Image.new("L", picture.size)
    ImageDraw.Draw(shade).ellipse(
        (x - radius, floor - radius * 0.22, x + radius * 1.35, floor + radius * 0.25), fill=100
    )
    picture.paste((0, 0, 0), mask=shade)


def _ball(pen: ImageDraw.ImageDraw, x: float, floor: float, radius: float, base: np.ndarray) -> None:
    for part in np.linspace(0, 1, 10):  # from the dark rim to the spot that the light meets
        size, shift = radius * (1 - 0.85 * part), radius * 0.3 * part
        centre = (x - shift, floor - radius - shift)
        box = (centre[0] - size, centre[1] - size, centre[0] + size, centre[1] + size)
        pen.ellipse(box, fill=_paint(base, 0.72 + 0.4 * part))


def _box(pen: ImageDraw.ImageDraw, x: float, floor: float, radius: float, base: np.ndarray) -> None:
    left, right, top, depth = x - radius, x + radius * 0.55, floor - radius * 1.35, radius * 0.45
    pen.rectangle((left, top, right, floor), fill=_paint(base, 0.95))
    side = [(right, top), (right + depth, top - depth), (right + depth, floor - depth), (right, floor)]
    pen.polygon(side, fill=_paint(base, 0.62))
    lid = [(left, top), (left + depth, top - depth), (right + depth, top - depth), (right, top)]
    pen.polygon(lid, fill=_paint(base, 1.18))


def _tent(pen: ImageDraw.ImageDraw, x: float, floor: float, radius: float, base: np.ndarray) -> None:
    peak = (x, floor - radius * 1.75)
    pen.polygon([(x - radius * 1.2, floor), peak, (x + radius * 0.35, floor)], fill=_paint(base, 1.0))
    pen.polygon([(x + radius * 0.35, floor), peak, (x + radius * 1.2, floor)], fill=_paint(base, 0.66))
    door = [(x - radius * 0.72, floor), (x - radius * 0.26, floor - radius * 0.95), (x - radius * 0.1, floor)]
    pen.polygon(door, fill=_paint(base, 0.2))


def _paint(base: np.ndarray, brightness: float) -> tuple[int, int, int]:
    red, green, blue = (base * brightness).clip(0, 255).astype(int).tolist()
    return red, green, blue


_OBJECTS = {"ball": _ball, "box": _box, "tent": _tent}
