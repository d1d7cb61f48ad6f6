"""Drawn scenes: an object of a colour on a ground, with captions that fit or do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["COLOURS", "GROUNDS", "OBJECTS", "Scene", "paint", "random_scenes", "worsen"]

COLOURS = {"red": (214, 40, 40), "yellow": (246, 206, 30), "green": (34, 160, 80), "blue": (38, 88, 220)}
OBJECTS = ("ball", "house", "boat", "tree")
# The upper and the lower half, and the words for where something is.
GROUNDS = {
    "grass": ((170, 205, 235), (104, 142, 66), "on the grass"),
    "beach": ((190, 220, 240), (216, 192, 140), "on the beach"),
    "snow": ((176, 184, 198), (240, 243, 248), "in the snow"),
    "night": ((16, 18, 40), (40, 42, 54), "at night"),
}

_ZOOM = 2  # drawn so much larger, then reduced: smooth edges


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        object: One of `OBJECTS`.
        colour: Its colour.
        ground: Where it is.
        seed: Decides place, size and texture.
    """

    object: str
    colour: str
    ground: str
    seed: int

    @property
    def caption(self) -> str:
        """Tell what is drawn: "a red ball on the grass"."""
        return f"a {self.colour} {self.object} {GROUNDS[self.ground][2]}"


def random_scenes(count: int, seed: int) -> list[Scene]:
    """Return scenes that differ in object, colour or ground, as long as there are enough."""
    combinations = list(product(OBJECTS, COLOURS, GROUNDS))
    order = np.random.default_rng([seed, 11]).permutation(len(combinations)).tolist()
    chosen = [combinations[order[index % len(order)]] for index in range(count)]
    return [
        Scene(shape, colour, ground, seed * 1000 + index)
        for index, (shape, colour, ground) in enumerate(chosen)
    ]


def worsen(scene: Scene, mistakes: int, seed: int) -> Scene:
    """Return a scene that differs from another in so many of object, colour and ground, in this order."""
    random = np.random.default_rng([seed, 13])

    def other(values: tuple[str, ...], value: str) -> str:
        return values[(values.index(value) + int(random.integers(1, len(values)))) % len(values)]

    changed = replace(scene, seed=seed)
    for part, values in (("object", OBJECTS), ("colour", tuple(COLOURS)), ("ground", tuple(GROUNDS)))[
        :mistakes
    ]:
        changed = replace(changed, **{part: other(values, getattr(scene, part))})  # type: ignore[arg-type]
    return changed


def paint(scene: Scene, side: int = 128) -> Image.Image:
    """Draw a scene, square."""
    random = np.random.default_rng([scene.seed, 17])
    high, low, _ = GROUNDS[scene.ground]
    horizon = int(side * random.uniform(0.4, 0.55))
    canvas = np.empty((side, side, 3))
    canvas[:horizon], canvas[horizon:] = high, low
    canvas += random.normal(0, 7, (side, side, 1))
    picture = Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).resize((side * _ZOOM,) * 2)
    size = side * _ZOOM * random.uniform(0.2, 0.28)
    x = side * _ZOOM * random.uniform(0.32, 0.68)
    floor = side * _ZOOM * random.uniform(0.68, 0.88)
    pen = ImageDraw.Draw(picture)
    pen.ellipse((x - size, floor - size * 0.12, x + size, floor + size * 0.14), fill=(30, 30, 34))
    for points, shade in _outlines(scene.object, x, floor, size):
        fill = tuple(int(min(part * shade, 255)) for part in COLOURS[scene.colour])
        if len(points) == 2:
            pen.ellipse(points, fill=fill)
        else:
            pen.polygon(points, fill=fill)
    return picture.reduce(_ZOOM)


def _outlines(
    shape: str, x: float, floor: float, size: float
) -> Iterator[tuple[list[tuple[float, float]], float]]:
    """Yield the parts of an object with their shades: two corners of an ellipse, or the corners of a polygon."""

    def at(*corners: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + across * size, floor - up * size) for across, up in corners]

    if shape == "ball":
        yield at((-0.8, 1.6), (0.8, 0)), 0.9
        yield at((-0.55, 1.4), (0.1, 0.75)), 1.2
    elif shape == "house":
        yield at((-0.8, 0), (0.8, 0), (0.8, 1), (-0.8, 1)), 1.0
        yield at((-1, 1), (1, 1), (0, 1.8)), 0.55
        yield at((-0.2, 0), (0.2, 0), (0.2, 0.6), (-0.2, 0.6)), 0.25
    elif shape == "boat":
        yield at((-1.1, 0.45), (1.1, 0.45), (0.7, 0), (-0.7, 0)), 0.7
        yield at((-0.05, 0.5), (-0.05, 1.9), (0.8, 0.6)), 1.15
        yield at((-0.15, 0.6), (-0.15, 1.6), (-0.7, 0.6)), 1.0
    else:
        yield at((-0.13, 0), (0.13, 0), (0.13, 0.7), (-0.13, 0.7)), 0.35
        yield at((-0.75, 2), (0.75, 0.5)), 0.95
        yield at((-0.45, 1.85), (0.3, 1.1)), 1.15
