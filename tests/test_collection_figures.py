"""What makes the figures on the cost of streaming, in small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.experiments.collection_engines import main as compare_engines
from docs.experiments.collections import main


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_every_figure_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--images", "4", "--rounds", "1", "--collections", "40", "80"])
    rows = dict(re.findall(r"^\| (.+) \| (.+) \|$", capsys.readouterr().out, flags=re.MULTILINE))
    assert float(rows["`score_collection` / its parts one after the other, by rounds"]) > 0
    assert re.fullmatch(r"\d+ MiB, \d+ MiB", rows["most memory over 40 images, over 80"])
    assert 0.8 < float(rows["the second / the first"]) < 1.25


def test_the_engines_are_compared(tiny_clip_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--images", "41", "--rounds", "1", "--batch-size", "4"]
    compare_engines([*few, "--engines", "local", "--model", str(tiny_clip_dir)])
    printed = capsys.readouterr().out
    assert printed.startswith("41 images of 320 × 240 in 40 files\n")
    rows = re.findall(r"^\| (.+) \| (\d+) \| (\S+) \| (\S+) \|$", printed, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == [
        "a plain loop over the archives",
        "`local`, archives",
        "`local`, Parquet",
    ]
    assert rows[0][2] == "1.00" and all(float(figure) > 0 for row in rows for figure in row[1:3])
    assert rows[0][3] == "0" and all(float(difference) <= 1e-6 for *_, difference in rows)
