"""Pictures of results: ranked candidates with their scores, generators with their win rates."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from unisim_metrics.cli.output import check_folder
from unisim_metrics.cli.pairs import Pair
from unisim_metrics.cli.terminal import visible, visible_lines
from unisim_metrics.installation import install_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    from unisim_metrics.statistics.intervals import Estimate

INK, GREY, PALE, ACCENT = "#1f2430", "#7a8190", "#e8eaef", "#0f8b6d"
DPI = 120
_MOST_SHOWN = 20
_COLUMNS = 5
_CELL = 1.8
_LABEL = 0.5
_MARGIN = 0.25
_HEAD = 0.55
_FOOT = 0.35
_THUMBNAIL = 240


def check(file: Path | None) -> None:
    """Check, before any work is done, that a picture can be written.

    Raises:
        ValueError: If the folder does not exist, or the ending is not that of a picture.
        ImportError: If matplotlib is missing.
    """
    if file is None:
        return
    check_folder(file, "--save-figure")
    if file.suffix.lower() not in (".png", ".pdf", ".svg", ".jpg", ".jpeg"):
        raise ValueError(f"Option --save-figure must name a .png, .pdf, .svg or .jpg file, but got {file}.")
    if find_spec("matplotlib") is None:
        raise ModuleNotFoundError(f"Option --save-figure needs matplotlib: {install_extra('plot')}.")


def save_ranking(
    file: Path,
    ranked: Sequence[tuple[Pair, float]],
    title: str,
    signature: str,
    reference: Path | None = None,
) -> None:
    """Draw candidates, best first, with their scores.

    Args:
        file: The picture.
        ranked: Candidates and scores, best first.
        title: A heading.
        signature: What made the scores.
        reference: The image that all candidates are held against; it is drawn first.
    """
    shown = ranked[:_MOST_SHOWN]
    heading = title if len(shown) == len(ranked) else f"{title} (best {len(shown)} of {len(ranked)})"
    texts = [pair.candidate for pair, _ in shown if isinstance(pair.candidate, str)]
    if texts:
        save_bars(file, texts, [score for _, score in shown], heading, signature)
        return
    cells = len(shown) + (reference is not None)
    columns = min(_COLUMNS, cells)
    figure = new_figure(columns * _CELL, math.ceil(cells / columns) * (_CELL + _LABEL), heading, signature)
    position = 0
    if reference is not None:
        axes = _cell(figure, 0, columns)
        draw_image(axes, thumbnail(reference), frame=INK)
        draw_caption(axes, reference.name)
        position = 1
    scores = [score for _, score in shown]
    for rank, (pair, score) in enumerate(shown, start=1):
        axes = _cell(figure, position, columns)
        position += 1
        best = score == scores[0]
        draw_image(axes, thumbnail(Path(pair.candidate)), frame=ACCENT if best else None)
        own_text = reference is None and isinstance(pair.reference, str) and pair.reference not in title
        name = str(pair.reference) if own_text else Path(pair.candidate).name
        draw_caption(axes, name, score, rank, best=best)
    figure.savefig(file, dpi=DPI)


def save_generators(
    file: Path,
    names: Sequence[str],
    rates: Sequence[Estimate],
    shown: Sequence[str],
    title: str,
    signature: str,
) -> None:
    """Draw the win rates of generators with their intervals, best first.

    Args:
        file: The picture.
        names: What each generator is called.
        rates: Their win rates, in [0, 1].
        shown: The same in words.
        title: A heading.
        signature: What made the scores.
    """
    reach = [
        [rate.value - rate.low for rate in rates],
        [rate.high - rate.value for rate in rates],
    ]
    save_bars(file, names, [rate.value for rate in rates], title, signature, shown, reach)


def save_bars(
    file: Path,
    labels: Sequence[str],
    values: Sequence[float],
    title: str,
    signature: str,
    shown: Sequence[str] | None = None,
    reach: Sequence[Sequence[float]] | None = None,
) -> None:
    """Draw labelled bars from the first, the best, downwards.

    Args:
        file: The picture.
        labels: What each bar is of.
        values: How long it is.
        title: A heading.
        signature: What made the values.
        shown: What stands beside it; None for the value.
        reach: How far its interval reaches down and up, `[2, bars]`; None if it has none.
    """
    figure = new_figure(7.5, 0.45 * len(labels) + 0.2, title, signature)
    height = figure.get_size_inches()[1]
    axes = figure.add_axes((0.4, (_FOOT + 0.1) / height, 0.5, (height - _FOOT - _HEAD - 0.1) / height))
    colors = [ACCENT if value == max(values) else "#b9bfcb" for value in values]
    whiskers = {"ecolor": INK, "elinewidth": 1.2, "capsize": 3}
    bars = axes.barh(range(len(labels)), values, color=colors, height=0.62, xerr=reach, error_kw=whiskers)
    texts = [f"{value:.3f}" for value in values] if shown is None else shown
    axes.bar_label(bars, labels=texts, padding=4, color=INK, fontsize=9)
    axes.set_yticks(
        range(len(labels)),
        [_short(label, 44) for label in labels],
        color=INK,
        fontsize=9,
        parse_math=False,
    )
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.axvline(0, color=GREY, linewidth=0.8)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.savefig(file, dpi=DPI)


def save_grid(
    file: Path,
    rows: Sequence[tuple[str, Sequence[tuple[Image.Image, float, str]]]],
    title: str,
    signature: str,
) -> None:
    """Draw rows of ranked images, each row with its own text at the left.

    Args:
        file: The picture.
        rows: For each row its text and its images with scores and names, best first.
        title: A heading.
        signature: What made the scores.
    """
    columns = max(len(images) for _, images in rows)
    figure = new_figure((columns + 1) * _CELL, len(rows) * (_CELL + _LABEL), title, signature)
    for index, (text, images) in enumerate(rows):
        lead = _cell(figure, index * (columns + 1), columns + 1)
        lead.set_axis_off()
        lead.text(
            0,
            0.5,
            textwrap.fill(visible(text), 19),
            va="center",
            fontsize=11.5,
            color=INK,
            parse_math=False,
        )
        for place, (image, score, name) in enumerate(images):
            axes = _cell(figure, index * (columns + 1) + 1 + place, columns + 1)
            small = image.copy()
            small.thumbnail((_THUMBNAIL, _THUMBNAIL))
            draw_image(axes, small, frame=ACCENT if place == 0 else None)
            draw_caption(axes, name, score, best=place == 0)
    figure.savefig(file, dpi=DPI)


def new_figure(width: float, height: float, title: str, signature: str) -> Figure:
    """Return a figure whose inner part has this size in inches, with its heading and signature."""
    from matplotlib.figure import Figure

    width, height = max(width + 2 * _MARGIN, 5.0), height + _HEAD + _FOOT
    figure = Figure(figsize=(width, height), facecolor="white")
    lines = textwrap.wrap(visible(title), max(int(width * 9), 20), max_lines=2, placeholder=" …")
    figure.text(
        _MARGIN / width,
        1 - 0.2 / height,
        "\n".join(lines),
        va="top",
        fontsize=12,
        weight="bold",
        color=INK,
        parse_math=False,
    )
    figure.text(
        _MARGIN / width,
        0.12 / height,
        visible_lines(signature),
        va="bottom",
        fontsize=6.5,
        color=GREY,
        family="monospace",
        parse_math=False,
    )
    return figure


def thumbnail(path: Path) -> Image.Image:
    """Return a file as a picture small enough for a figure."""
    from torchvision.transforms.functional import to_pil_image

    from unisim_metrics.images import load_image

    image: Image.Image = to_pil_image(load_image(path))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return image


def draw_image(axes: Axes, image: Image.Image, frame: str | None = None) -> None:
    """Draw an image without ticks at the foot of a square, with a coloured frame or none."""
    side = max(image.size)
    left, top = (side - image.width) / 2, side - image.height
    axes.imshow(image, extent=(left, left + image.width, top + image.height, top))
    axes.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if frame is not None:
        from matplotlib.patches import Rectangle

        axes.add_patch(
            Rectangle(
                (left, top), image.width, image.height, fill=False, color=frame, linewidth=3, clip_on=False
            )
        )


def draw_caption(
    axes: Axes, name: str, score: float | None = None, rank: int | None = None, *, best: bool = False
) -> None:
    """Write rank, score and name below an image; one without a score is the reference."""
    color = ACCENT if best else INK
    if rank is not None:
        axes.text(0, -0.05, f"{rank}", transform=axes.transAxes, va="top", fontsize=9, color=color)
    axes.text(
        0.5,
        -0.04,
        "reference" if score is None else f"{score:.3f}",
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=10.5,
        weight="bold",
        color=color,
    )
    axes.text(
        0.5,
        -0.17,
        _short(name),
        transform=axes.transAxes,
        ha="center",
        va="top",
        fontsize=7,
        color=GREY,
        parse_math=False,
    )


def _cell(figure: Figure, position: int, columns: int) -> Axes:
    width, height = figure.get_size_inches()
    row, column = divmod(position, columns)
    left = _MARGIN + column * _CELL + 0.08
    bottom = height - _HEAD - row * (_CELL + _LABEL) - _CELL + 0.08
    side = _CELL - 0.16
    return figure.add_axes((left / width, bottom / height, side / width, side / height))


def _short(text: str, length: int = 30) -> str:
    text = visible(text)
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-(length // 2) :]}"
