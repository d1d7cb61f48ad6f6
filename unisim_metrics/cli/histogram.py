"""How scores are distributed: a histogram as lines of text, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from unisim_metrics.cli.figure import ACCENT, DPI, GREY, INK, PALE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unisim_metrics.collections import Summary

_BAR = 40
# In inches: the picture's inner part, and what its axes leave of it for numbers.
_WIDTH, _HEIGHT = 7.5, 3.4
_LEFT, _RIGHT, _BELOW, _ABOVE = 0.95, 0.3, 0.95, 0.75


def histogram(summary: Summary) -> str:
    """Return the histogram as lines of text, the longest bar forty signs long."""
    most = max(summary.bars, default=0)
    lines = [
        f"{low:8.4f} … {high:7.4f} {count:>11} {'#' * round(_BAR * count / most)}".rstrip()
        for (low, high), count in zip(pairwise(summary.edges), summary.bars, strict=True)
    ]
    return "".join(f"{line}\n" for line in lines)


def draw_histogram(summary: Summary, title: str, threshold: float | None = None) -> Figure:
    """Return the histogram as a figure, with the mean and a threshold in the range of the scores marked.

    Args:
        summary: What is told of the scores.
        title: A heading.
        threshold: The score from which on the share is told.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    figure = new_figure(_WIDTH, _HEIGHT, title, summary.signature)
    width, height = figure.get_size_inches()
    inner = (width - _LEFT - _RIGHT) / width, (height - _BELOW - _ABOVE) / height
    axes = figure.add_axes((_LEFT / width, _BELOW / height, *inner))
    edges, bars = _visible_bars(summary.edges, summary.bars)
    if bars:
        widths = [high - low for low, high in pairwise(edges)]
        axes.bar(edges[:-1], bars, widths, align="edge", color=ACCENT, edgecolor="white", linewidth=0.5)
        _mark(axes, summary.mean, f"mean {summary.mean:.4f}", 0.99)
        # Elsewhere its line would squeeze the bars.
        if threshold is not None and edges[0] <= threshold <= edges[-1]:
            _mark(axes, threshold, f"{summary.above:.1%} from {threshold:g}", 0.9)
    else:
        axes.text(0.5, 0.5, "no row has a score", ha="center", color=GREY, transform=axes.transAxes)
        axes.set_xticks([])
    axes.set_ylim(0, max(bars, default=0) * 1.18 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("score", color=INK, fontsize=9)
    axes.set_ylabel("rows", color=INK, fontsize=9)
    axes.tick_params(colors=GREY, labelsize=8, length=0)
    axes.grid(axis="y", color=PALE)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(GREY)
    return figure


def save_histogram(file: Path, summary: Summary, title: str, threshold: float | None = None) -> None:
    """Draw the histogram into a picture; see `draw_histogram`.

    Args:
        file: The picture.
        summary: What is told of the scores.
        title: A heading.
        threshold: The score from which on the share is told.
    """
    draw_histogram(summary, title, threshold).savefig(file, dpi=DPI)


def _visible_bars(edges: Sequence[float], bars: Sequence[int]) -> tuple[Sequence[float], Sequence[int]]:
    """Edges and heights that can be seen: where all scores are equal, one bar around them."""
    if not bars or edges[0] < edges[-1]:
        return edges, bars
    half = max(abs(edges[0]) / 100, 1e-4)
    return (edges[0] - half, edges[0] + half), (sum(bars),)


def _mark(axes: Axes, score: float, text: str, height: float) -> None:
    """Draw a line at a score, with a text beside it that stays within the axes."""
    axes.axvline(score, color=INK, linewidth=1, linestyle="--")
    low, high = axes.get_xlim()
    is_right = score > (low + high) / 2
    axes.annotate(
        text,
        (score, height),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if is_right else 4, 0),
        textcoords="offset points",
        ha="right" if is_right else "left",
        va="top",
        fontsize=8,
        color=INK,
    )
