"""The figures of docs/authors_code.md that need no run of a model."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from docs.experiments import protocols
from unisim_metrics.benchmark.datasets.odd_one_out import IMAGENET_GROUPS
from unisim_metrics.prompts import DEFAULT_PROMPTS, PAPER_PROMPTS

DOCS = Path(__file__).parents[1]
PAGE = (DOCS / "docs" / "authors_code.md").read_text(encoding="utf-8")
CARD = (DOCS / "unisim_metrics" / "assets" / "unisim-mini" / "README.md").read_text(encoding="utf-8")
ROOT = Path(os.environ.get("UNISIM_BENCH_ROOT", "no data root"))


def test_texts() -> None:
    for task, of_paper in PAPER_PROMPTS.items():
        authors = DEFAULT_PROMPTS[task]
        for text, other in ((authors.naive, of_paper.naive), (authors.negative, of_paper.negative)):
            assert (f"“{text}”" in PAGE) == (text != other)
    assert f"“{PAPER_PROMPTS['quality'].naive}”" in PAGE


def test_figures_of_the_bundled_model_are_those_of_its_card() -> None:
    rows = re.findall(r"\| (severity by \w+) \| (\d\.\d{3}) \| (\d\.\d{3}) \|", PAGE)
    assert len(rows) == 3
    for name, paper, authors in rows:
        for figure, shown in ((name, authors), (f"{name}, paper's wording", paper)):
            row = re.search(
                rf"^\| {figure} \|.*\| (\d\.\d{{3}}) \[[\d., ]+\] \| [\d.]+ \| [\d.]+ \|$", CARD, re.MULTILINE
            )
            assert row is not None
            assert row[1] == shown


def test_draws_with_repeats() -> None:
    shown = 2250 * (1 - (1 - 1 / 2250) ** 5000)
    assert f"5,000 draws show {shown:,.0f} of its 2,250 pairs" in PAGE


def test_classes_of_imagenet() -> None:
    count = len(IMAGENET_GROUPS["terrestrial animals"])
    twice = 119
    assert f"{twice} of {count} classes" in PAGE
    assert f"{2 * twice / (count + twice):.0%}".replace("%", " %") in PAGE
    assert f"{twice / count:.0%}".replace("%", " %") in PAGE


@pytest.mark.skipif(not (ROOT / "agiqa-3k/data.csv").is_file(), reason="UNISIM_BENCH_ROOT has no AGIQA-3K")
def test_the_block_is_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["protocols", "--root", str(ROOT)])
    protocols.main()
    lines = capsys.readouterr().out.splitlines()
    assert {line for line in lines if "agiqa" in line.lower()} <= set(PAGE.splitlines())
