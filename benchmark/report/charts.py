"""The geometry of the page's charts: where lines run and labels stand. The page draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unisim_metrics.statistics.intervals import Estimate

_RADIUS = 150.0
_RINGS = 4
# Of its range, how far the lowest figure of an axis stands from the middle: at 0 shapes would meet in a point.
_INNER = 0.12


@dataclass(frozen=True)
class Point:
    """A figure in a chart."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Label:
    """A text in a chart; `anchor` is SVG's `text-anchor`."""

    x: float
    y: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Shape:
    """A model in a radar: its lines, broken where it has no figure, and its points."""

    model: str
    path: str
    closed: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Axis:
    """A spoke of a radar: its end, its title and the figures that it runs between."""

    x: float
    y: float
    title: Label
    span: Label


@dataclass(frozen=True)
class Radar:
    """A radar around (0, 0)."""

    axes: tuple[Axis, ...]
    rings: tuple[str, ...]
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Curve:
    """A model in a plot: its line, the band of its intervals and its points."""

    model: str
    line: str
    band: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plot:
    """Curves over a few numbers, from (0, 0) at the top left to (`width`, `height`)."""

    width: float
    height: float
    x_ticks: tuple[Label, ...]
    y_ticks: tuple[Label, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Scatter:
    """Models as points, from (0, 0) at the top left to (`width`, `height`)."""

    width: float
    height: float
    x_ticks: tuple[Label, ...]
    y_ticks: tuple[Label, ...]
    points: tuple[tuple[str, Point], ...]


def radar(titles: Mapping[str, str], models: Mapping[str, Mapping[str, float]]) -> Radar:
    """Return the radar of models.

    Each axis runs from the lowest to the highest figure of all models, rounded outwards to fives.

    Args:
        titles: The title of each axis, by its id.
        models: The figures of each model, in per cent, by axis; none where it has none.
    """
    spans = {
        axis: _span([figures[axis] for figures in models.values() if axis in figures]) for axis in titles
    }
    angles = {axis: 2 * math.pi * index / len(titles) for index, axis in enumerate(titles)}
    axes = []
    for axis, title in titles.items():
        x, y = _polar(angles[axis], _RADIUS)
        outside_x, outside_y = _polar(angles[axis], _RADIUS + 16)
        anchor = "middle" if abs(x) < 1 else "start" if x > 0 else "end"
        # Two lines of text stand around their middle.
        top = outside_y - (14 if y < -1 else -2 if y > _RADIUS / 2 else 4)
        low, high = spans[axis]
        axes.append(
            Axis(
                *_rounded(x, y),
                Label(*_rounded(outside_x, top), title, anchor),
                Label(*_rounded(outside_x, top + 14), f"{low:g}–{high:g}", anchor),
            )
        )
    rings = tuple(
        " ".join(
            _pair(*_polar(angle, _RADIUS * (_INNER + (1 - _INNER) * ring / _RINGS)))
            for angle in angles.values()
        )
        for ring in range(_RINGS + 1)
    )
    shapes = tuple(_shape(model, figures, titles, spans, angles) for model, figures in models.items())
    return Radar(tuple(axes), rings, shapes)


def plot(
    curves: Mapping[str, Mapping[int, Estimate]],
    names: Mapping[str, str],
    *,
    unit: str,
    width: float = 460,
    height: float = 260,
) -> Plot:
    """Return curves over numbers.

    Args:
        curves: The shares with their intervals, by model and number.
        names: What the models are called.
        unit: What the numbers count.
        width: Of the area that is drawn in.
        height: Of the same.
    """
    numbers = sorted({number for curve in curves.values() for number in curve})
    ends = [
        100 * end for curve in curves.values() for share in curve.values() for end in (share.low, share.high)
    ]
    low, high = _span(ends)
    step = _step(high - low)

    def place(number: int, percent: float) -> tuple[float, float]:
        along = (number - numbers[0]) / max(numbers[-1] - numbers[0], 1)
        return _rounded(width * along, height * (high - percent) / (high - low))

    drawn = []
    for model, shares in curves.items():
        ordered = sorted(shares.items())
        centers = [place(number, 100 * share.value) for number, share in ordered]
        upper = [place(number, 100 * share.high) for number, share in ordered]
        lower = [place(number, 100 * share.low) for number, share in ordered]
        texts = [
            f"{names[model]}, {number} {unit}: {100 * share.value:.1f}"
            f" ({100 * share.low:.1f}–{100 * share.high:.1f})"
            for number, share in ordered
        ]
        drawn.append(
            Curve(
                model,
                " ".join(_pair(*center) for center in centers),
                " ".join(_pair(*corner) for corner in (*upper, *reversed(lower))),
                tuple(Point(*center, text) for center, text in zip(centers, texts, strict=True)),
            )
        )
    return Plot(
        width,
        height,
        tuple(Label(*place(number, low), str(number)) for number in numbers),
        tuple(Label(*place(numbers[0], value), f"{value:g}", "end") for value in _ticks(low, high, step)),
        tuple(drawn),
    )


def scatter(
    models: Mapping[str, tuple[float, float]],
    names: Mapping[str, str],
    axes: tuple[str, str],
    *,
    width: float = 400,
    height: float = 300,
) -> Scatter:
    """Return models as points.

    Args:
        models: Two figures of each model, in per cent: to the right and upwards.
        names: What the models are called.
        axes: What the two figures are.
        width: Of the area that is drawn in.
        height: Of the same.
    """
    (left, right), (low, high) = (_span(values) for values in zip(*models.values(), strict=True))

    def place(x: float, y: float) -> tuple[float, float]:
        return _rounded(width * (x - left) / (right - left), height * (high - y) / (high - low))

    points = tuple(
        (model, Point(*place(x, y), f"{names[model]}: {axes[0]} {x:.1f}, {axes[1]} {y:.1f}"))
        for model, (x, y) in models.items()
    )
    return Scatter(
        width,
        height,
        tuple(Label(*place(value, low), f"{value:g}") for value in _ticks(left, right, 5)),
        tuple(Label(*place(left, value), f"{value:g}", "end") for value in _ticks(low, high, 5)),
        points,
    )


def _shape(
    model: str,
    figures: Mapping[str, float],
    titles: Mapping[str, str],
    spans: Mapping[str, tuple[float, float]],
    angles: Mapping[str, float],
) -> Shape:
    points: dict[str, Point] = {}
    for axis in titles:
        if axis in figures:
            low, high = spans[axis]
            share = _INNER + (1 - _INNER) * (figures[axis] - low) / (high - low)
            x, y = _rounded(*_polar(angles[axis], _RADIUS * share))
            points[axis] = Point(x, y, f"{titles[axis]} {figures[axis]:.1f}")
    closed = len(points) == len(titles)
    order = list(titles)
    lines = []
    for axis, following in zip(order, order[1:] + order[:1], strict=True):
        if axis in points and following in points:
            start, end = points[axis], points[following]
            lines.append(f"M{_pair(start.x, start.y)}L{_pair(end.x, end.y)}")
    whole = "M" + "L".join(_pair(point.x, point.y) for point in points.values()) + "Z"
    return Shape(model, whole if closed else "".join(lines), closed, tuple(points.values()))


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: the range of values, rounded outwards to fives."""
    low, high = 5 * math.floor(min(values) / 5), 5 * math.ceil(max(values) / 5)
    return (low, high) if low < high else (low - 5, high + 5)


def _step(length: float) -> float:
    return next((step for step in (1, 2, 5, 10) if length / step <= 6), 20)


def _ticks(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step)
    return [step * index for index in range(first, math.floor(high / step) + 1)]


def _polar(angle: float, radius: float) -> tuple[float, float]:
    """Return where an angle, clockwise from the top, and a distance from the middle lead."""
    return radius * math.sin(angle), -radius * math.cos(angle)


def _rounded(x: float, y: float) -> tuple[float, float]:
    # Adding 0 turns -0.0 into 0.0.
    return round(x, 1) + 0.0, round(y, 1) + 0.0


def _pair(x: float, y: float) -> str:
    x, y = _rounded(x, y)
    return f"{x:g},{y:g}"
