"""The histogram of a folder of scores, as text and as a picture, against counts of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from command_line import unisim
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from unisim_metrics.cli.figure import ACCENT
from unisim_metrics.cli.histogram import draw_histogram, histogram
from unisim_metrics.collections import Summary, summarize_collection

Rectangle = pytest.importorskip("matplotlib.patches").Rectangle
SIGNATURE = "unisim|model:m@0|task:quality/naive|input:32-pil|v:0"
SCORES = [0.0] + [0.1] * 4 + [0.6] * 2 + [1.0]


def write_scores(folder: Path, *shards: Any) -> Path:
    """Write shards as `score_collection` does, as far as they are summarized."""
    folder.mkdir()
    for number, scores in enumerate(shards):
        scores = np.asarray(scores, np.float32)
        table = pyarrow.table(
            {"unisim_score": scores, "unisim_error": ["" if score == score else "torn" for score in scores]}
        )
        parquet.write_table(
            table.replace_schema_metadata({"unisim_signature": SIGNATURE}),
            folder / f"part-{number:05}.parquet",
        )
    (folder / "_SUCCESS").touch()
    return folder


def drawn_bars(summary: Summary) -> list[tuple[float, float, float]]:
    """Where the bars of the figure begin, where they end, and how high they are."""
    (axes,) = draw_histogram(summary, "Scores").axes
    return [
        (bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height())
        for bar in axes.patches
        if isinstance(bar, Rectangle)
    ]


def columns_of(file: Path) -> list[int]:
    """How many pixels of each column of a picture have the colour of the bars."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"), np.int16)
    colour = [int(ACCENT[start : start + 2], 16) for start in (1, 3, 5)]
    return (np.abs(pixels - colour).max(axis=2) < 8).sum(axis=0).tolist()


@settings(max_examples=20, deadline=None)
@given(
    scores=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40),
    bars=st.integers(1, 12),
)
def test_bars_are_the_counts(
    scores: list[float], bars: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = write_scores(tmp_path_factory.mktemp("scores") / "out", scores)
    found = drawn_bars(summarize_collection(folder, bars=bars))
    assert sum(height for *_, height in found) == len(scores)
    array = np.array(scores, np.float32).astype(np.float64)
    if array.min() == array.max():
        ((low, high, _),) = found
        assert low < array[0] < high
        return
    heights, edges = np.histogram(array, np.linspace(array.min(), array.max(), bars + 1))
    assert [height for *_, height in found] == heights.tolist()
    assert [low for low, *_ in found] == pytest.approx(edges[:-1].tolist())
    assert found[-1][1] == pytest.approx(edges[-1])


def test_the_picture_shows_them(tmp_path: Path) -> None:
    write_scores(tmp_path / "out", SCORES[:3], [], [*SCORES[3:], np.nan])
    file = tmp_path / "scores.png"
    run = unisim("collection", "summarize", tmp_path / "out", "--bars", 5, "--save-figure", file, "--json")
    assert run.status == 0
    assert json.loads(run.out)["histogram"]["bars"] == [5, 0, 0, 2, 1]
    columns = columns_of(file)
    filled = [place for place, count in enumerate(columns) if count]
    # Five bars of one width from the first coloured column to the last; each is measured in its middle.
    width = (filled[-1] + 1 - filled[0]) / 5
    heights = [columns[round(filled[0] + width * (bar + 0.35))] for bar in range(5)]
    assert heights[1] == heights[2] == 0
    assert [height / heights[0] for height in (heights[3], heights[4])] == pytest.approx([0.4, 0.2], abs=0.02)


def test_the_text_stays_beside_the_picture(tmp_path: Path) -> None:
    write_scores(tmp_path / "out", SCORES)
    command = ("collection", "summarize", tmp_path / "out", "--bars", 5)
    alone = unisim(*command)
    assert alone.status == 0
    assert "  0.0000 …  0.2000           5 ########################################\n" in alone.out
    for ending in ("png", "svg", "pdf", "jpg"):
        file = tmp_path / f"scores.{ending}"
        assert unisim(*command, "--above", 0.5, "--save-figure", file).status == 0
        assert file.stat().st_size > 0
    assert unisim(*command, "--save-figure", tmp_path / "again.png") == alone


@pytest.mark.parametrize(
    ("scores", "threshold", "said"),
    [
        (SCORES, 0.5, ["mean 0.3250", "37.5% from 0.5"]),
        (SCORES, 7.0, ["mean 0.3250"]),
        (SCORES, None, ["mean 0.3250"]),
        ([0.25], 0.25, ["mean 0.2500", "100.0% from 0.25"]),
        ([], 0.5, ["no row has a score"]),
        ([np.nan], None, ["no row has a score"]),
    ],
)
def test_what_is_written_into_the_picture(
    scores: list[float], threshold: float | None, said: list[str], tmp_path: Path
) -> None:
    summary = summarize_collection(write_scores(tmp_path / "out", scores), threshold=threshold)
    (axes,) = draw_histogram(summary, "Scores in $x^2$", threshold).axes
    assert [text.get_text() for text in axes.texts] == said
    assert len(histogram(summary).splitlines()) == (20 if summary.count else 0)
    low, high = axes.get_xlim()
    assert high - low < 1.5


def test_a_picture_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    for file, message in ((tmp_path / "x.doc", "must name a .png"), (tmp_path / "no" / "x.png", "exists")):
        run = unisim("collection", "summarize", tmp_path / "nowhere", "--save-figure", file)
        assert run.status == 2 and message in run.err
