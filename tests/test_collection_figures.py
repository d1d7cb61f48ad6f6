"""What makes the figures on the cost of streaming, in small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.experiments.collections import main


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_every_figure_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--images", "4", "--rounds", "1", "--collections", "40", "80"])
    rows = dict(re.findall(r"^\| (.+) \| (.+) \|$", capsys.readouterr().out, flags=re.MULTILINE))
    assert float(rows["`score_collection` / its parts one after the other, by rounds"]) > 0
    assert re.fullmatch(r"\d+ MiB, \d+ MiB", rows["most memory over 40 images, over 80"])
    assert 0.8 < float(rows["the second / the first"]) < 1.25
