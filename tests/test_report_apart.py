"""Reports: what was measured on other samples than the paper's stands apart, and texts that were cut are told."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from answers import write_answers
from report_results import OTHERS, SETS, make_result, write_model

from unisim_metrics.benchmark import write_report
from unisim_metrics.benchmark.paper import PAPER_TABLES
from unisim_metrics.benchmark.report import build_tables, read_measurements
from unisim_metrics.benchmark.report.figures import icl_curves, nafc_curves


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_other_samples_are_apart_from_the_papers_figures(tmp_path: Path) -> None:
    """With figures higher than any: nothing but the paper's own is marked, averaged or drawn."""
    shares = {**dict.fromkeys(SETS, 0.999), "hpdv2-nafc-8": 0.9}
    for provenance in OTHERS:
        name = "unisim-vit-b-32" if provenance == "demo" else f"model-{provenance}"
        write_model(tmp_path / "0", name, shares, n=60, provenance=provenance)
        write_model(tmp_path / "1", name, shares, n=60, provenance=provenance, demonstrations=1)
    measured = read_measurements(tmp_path / "0", tmp_path / "1")
    alone, tables = build_tables([]), build_tables(measured)
    assert tables == alone
    assert nafc_curves(measured) == icl_curves(measured) == {}

    write_report(tmp_path / "alone")
    write_report(tmp_path / "report", [tmp_path / "0", tmp_path / "1"])
    for number in PAPER_TABLES:
        name = f"table{number}.csv"
        assert (tmp_path / "report" / name).read_text() == (tmp_path / "alone" / name).read_text()
    pages = [
        (tmp_path / folder / "report.html").read_text(encoding="utf-8") for folder in ("alone", "report")
    ]
    drawn = [page.partition('<section id="apart">')[0] for page in pages]
    figures = [
        re.findall(r"<svg.*?</svg>|<table class=\"(?:figures|map)\".*?</table>", page, re.S) for page in drawn
    ]
    assert len(figures[0]) > 6
    assert figures[0] == figures[1]
    for text in ("demo data", "a part of the paper&#39;s set", "of unknown origin", "a set of one&#39;s own"):
        assert text in pages[1].partition('<section id="apart">')[2]


def test_each_figure_that_is_apart_stands_in_every_format(tmp_path: Path) -> None:
    write_model(
        tmp_path / "r",
        "mine",
        {"nights": 0.75, "hpdv2": 0.5},
        n=40,
        exact=True,
        provenance="demo",
        truncated_texts=7,
    )
    write_model(tmp_path / "r", "mine", {"bapps": 0.9}, n=200, exact=True)
    write_report(tmp_path / "report", [tmp_path / "r"])
    lines = read_csv(tmp_path / "report/other_samples.csv")
    assert [
        (line["name"], line["dataset"], line["samples"], line["n"], line["figure"]) for line in lines
    ] == [
        ("mine", "nights", "demo", "40", "75.00"),
        ("mine", "hpdv2", "demo", "40", "50.00"),
    ]
    assert {line["truncated_texts"] for line in lines} == {"7"}
    texts = {
        name: (tmp_path / "report" / name).read_text(encoding="utf-8")
        for name in ("report.md", "report.tex", "report.html")
    }
    assert re.search(
        r"\| mine \| demo data \| nights \| 40 \| 75\.0 \| [\d.]+–[\d.]+ \| 7 texts cut \|",
        texts["report.md"],
    )
    assert re.search(
        r"mine & demo data & nights & 40 & 75\.0 & [\d.]+--[\d.]+ & 7 texts cut", texts["report.tex"]
    )
    assert "<td>demo data</td><td>nights</td><td>40</td><td>75.0</td>" in texts["report.html"]
    # The paper's own set is in the tables as ever.
    row = build_tables(read_measurements(tmp_path / "r"))[2].rows[-1]
    assert (row.name, set(row.cells)) == ("mine", {"bapps"})


def test_the_demo_does_not_hide_the_papers_set_of_the_same_model(tmp_path: Path) -> None:
    write_model(tmp_path / "demo", "mine", {"nights": 0.9}, n=20, exact=True, provenance="demo")
    write_model(tmp_path / "real", "mine", {"nights": 0.6}, n=1000, exact=True)
    for order in (("demo", "real"), ("real", "demo")):
        (measured,) = read_measurements(*(tmp_path / name for name in order))
        assert measured.results["nights"].n == 1000
        assert [result.n for result in measured.apart] == [20]


def test_a_result_that_claims_what_it_is_not_is_apart(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    result = make_result("nights", 0.9, n=10, generator=generator)
    for change in ({"dataset": "iqa"}, {"dataset": "average"}, {"task": "caption"}):
        folder = tmp_path / str(change)
        write_answers(folder, "mine", [result.model_copy(update=change)])
        (measured,) = read_measurements(folder)
        assert measured.results == {} and len(measured.apart) == 1


def test_cut_texts_stand_beside_the_figures(tmp_path: Path) -> None:
    write_model(tmp_path / "r", "mine", {"hpdv2": 0.9}, n=100, truncated_texts=12)
    write_model(tmp_path / "r", "none", {"hpdv2": 0.9}, n=100, truncated_texts=0)
    write_report(tmp_path / "report", [tmp_path / "r"])
    texts = {
        name: (tmp_path / "report" / name).read_text(encoding="utf-8")
        for name in ("report.md", "report.tex", "report.html")
    }
    assert "| mine ‡ § |" in texts["report.md"] and "| none ‡ |" in texts["report.md"]
    assert r"mine $\ddagger$ \S &" in texts["report.tex"]
    assert texts["report.html"].count("12 texts cut to the model&#39;s context") == 3
    lines = read_csv(tmp_path / "report/table2.csv")
    assert [line["hpdv2"] for line in lines if line["source"] == "truncated"] == ["12", "0"]
