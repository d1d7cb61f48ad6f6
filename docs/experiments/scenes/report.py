"""What a comparison found: paired intervals, a table in Markdown, and a grid of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import stats

from ..intervals import interval
from .comparison import Measured, Task

_TILE = 96
_HEADER = 20


def table(task: Task, rows: Mapping[str, Sequence[Measured]]) -> str:
    """Write the table of a task.

    Args:
        task: What was asked for.
        rows: What was measured, by the name of the way of sampling; all others are compared to the first,
            prompt by prompt.
    """
    asked = "all of the prompt" if task.open is None else f"{task.open} of the reference"
    columns = {f"{task.reward} (UniSim)": "reward", f"{asked}, %": "asked"}
    if task.open == "colour":
        columns["the same by pixels, %"] = "colour"
    if task.open is not None:
        columns["rest of the prompt, %"] = "kept"
    lines = ["| | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    base = next(iter(rows.values()))
    for name, measured in rows.items():
        cells = [
            _cell(
                _values(measured, field),
                _values(base, field),
                measured is base,
                digits=3 if field == "reward" else 1,
            )
            for field in columns.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def raised(before: Sequence[Measured], after: Sequence[Measured]) -> str:
    """Say for how many prompts the reward rose, with Wilson's interval."""
    count = sum(late.reward > early.reward for early, late in zip(before, after, strict=True))
    ends = stats.binomtest(count, len(before)).proportion_ci(0.95, method="wilson")
    return f"{count} of {len(before)} ({100 * ends.low:.0f} to {100 * ends.high:.0f} %)"


def grid(columns: Mapping[str, Sequence[Image.Image]], captions: Sequence[str]) -> Image.Image:
    """Lay pictures out: a column for each way of sampling, a row for each prompt, its caption above.

    Args:
        columns: Pictures by the column's title.
        captions: Of the rows.
    """
    height = _TILE + _HEADER
    sheet = Image.new("RGB", (len(columns) * (_TILE + 4), _HEADER + len(captions) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, (title, pictures) in enumerate(columns.items()):
        x = column * (_TILE + 4)
        pen.text((x + _TILE / 2, 3), title, "black", font, anchor="ma")
        for row, picture in enumerate(pictures[: len(captions)]):
            tile = picture.resize((_TILE, _TILE), Image.Resampling.BICUBIC)
            sheet.paste(tile, (x, _HEADER + row * height + _HEADER))
    for row, text in enumerate(captions):
        pen.text((2, _HEADER + row * height + 3), text, (90, 90, 90), font)
    return sheet


def beside(sheets: Sequence[Image.Image]) -> Image.Image:
    """Put sheets side by side."""
    width = sum(sheet.width for sheet in sheets) + 3 * _HEADER * (len(sheets) - 1)
    whole = Image.new("RGB", (width, max(sheet.height for sheet in sheets)), "white")
    x = 0
    for sheet in sheets:
        whole.paste(sheet, (x, 0))
        x += sheet.width + 3 * _HEADER
    return whole


def _cell(values: np.ndarray, base: np.ndarray, is_base: bool, digits: int) -> str:
    """A mean with its interval, and the paired difference to the base with its own; bold where that leaves out 0."""
    mean, half = interval(values)
    cell = f"{mean:.{digits}f} ± {half:.{digits}f}"
    if is_base:
        return cell
    difference, slack = interval(values - base)
    change = f"{difference:+.{digits}f} ± {slack:.{digits}f}"
    return f"{cell} ({f'**{change}**' if abs(difference) > slack else change})"


def _values(measured: Sequence[Measured], field: str) -> np.ndarray:
    values = np.array([getattr(one, field) for one in measured], dtype=float)
    return values if field == "reward" else 100 * values
