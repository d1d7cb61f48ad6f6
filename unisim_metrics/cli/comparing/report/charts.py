"""The geometry of the page's charts: how scores are distributed, and where win rates lie. The page draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unisim_metrics.statistics.intervals import Estimate

_BINS = 30
# Of the height of a row, how much its highest bin takes.
_FULL = 0.86


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    x: float
    text: str


@dataclass(frozen=True)
class Hill:
    """How the scores of a competitor are distributed: the outline of its histogram, and where its mean stands."""

    name: str
    base: float
    path: str
    mean: Tick


@dataclass(frozen=True)
class Distribution:
    """Hills one below the other over one axis, from (0, 0) at the top left to (`width`, `height`)."""

    width: float
    height: float
    row: float
    hills: tuple[Hill, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Whisker:
    """A figure with its interval in a row of a chart."""

    name: str
    y: float
    low: float
    middle: float
    high: float
    text: str


def distribution(
    scores: NDArray[np.float64], names: Sequence[str], width: float = 640, row: float = 64
) -> Distribution:
    """Return the histograms of scores `[trials, competitors]`, all over one range with one scale."""
    import numpy as np

    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = [np.histogram(column, _BINS, (low, high))[0] for column in scores.T]
    tallest = max(int(each.max()) for each in counts)
    step = width / _BINS

    def place(score: float) -> float:
        return round(width * (score - low) / (high - low), 1)

    hills = []
    for index, (name, bins) in enumerate(zip(names, counts, strict=True)):
        base = row * (index + 1)
        line = "".join(
            f"V{base - row * _FULL * count / tallest:.1f}H{step * (number + 1):.1f}"
            for number, count in enumerate(bins.tolist())
        )
        mean = float(scores[:, index].mean())
        hills.append(Hill(name, base, f"M0 {base:.1f}{line}V{base:.1f}Z", Tick(place(mean), f"{mean:.4f}")))
    return Distribution(
        width,
        row * len(names),
        row,
        tuple(hills),
        tuple(Tick(place(value), f"{value:g}") for value in _round_values(low, high)),
    )


def whiskers(
    figures: Sequence[tuple[str, Estimate, str]], width: float = 640, row: float = 34
) -> tuple[Whisker, ...]:
    """Return shares with their intervals, given with a name and a text each, on an axis from 0 to 1."""
    found = []
    for index, (name, share, text) in enumerate(figures):
        low, middle, high = (round(width * end, 1) for end in (share.low, share.value, share.high))
        found.append(Whisker(name, row * (index + 0.5), low, middle, high, text))
    return tuple(found)


def _round_values(low: float, high: float) -> list[float]:
    """Return four to ten round numbers in a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.99)
    # Whole multiples, so that 0.3 is not 0.30000000000000004.
    digits = max(0, -math.floor(math.log10(step)))
    return [
        round(step * number, digits) for number in range(math.ceil(low / step), math.floor(high / step) + 1)
    ]
