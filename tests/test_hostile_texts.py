"""Names of others in pages and tables, and the table of docs/security.md: row by row what the tests have tried."""

from __future__ import annotations

import csv
import importlib
import json
import re
from pathlib import Path

import pytest
from report_results import write_model
from tried import ROWS, row

from unisim_metrics.benchmark import write_report
from unisim_metrics.benchmark.report.latex import escape as escape_latex
from unisim_metrics.benchmark.report.markdown import escape as escape_markdown
from unisim_metrics.cli.output import Result

PAGE = Path(__file__).parent.parent / "docs" / "security.md"
MODULES = ("test_hostile_pickles", "test_hostile_archives", "test_hostile_results", "test_hostile_texts")
HOSTILE = (
    "</script><script>problems.push(1)</script>",
    "<img src=x onerror=problems.push(1)>",
    "'\"><svg onload=problems.push(1)>",
    "{{ 7*7 }}{% raw %}",
    '=HYPERLINK("http://x")',
    "| a | b |",
    "[x](javascript:alert(1))",
    r"\input{/etc/passwd}",
    "*{2}",
)


@row(
    "Names of models with HTML, `</script>`, templates, or a `\\` and brackets",
    "are text in the page, in Markdown and in LaTeX",
)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_in_reports(tmp_path: Path, name: str) -> None:
    for index, provenance in enumerate(("paper", "demo")):
        folder = write_model(
            tmp_path / "r",
            f"m{index}",
            {"nights": 0.5, "hpdv2-nafc-3": 0.4, "hpdv2": 0.5},
            n=20,
            provenance=provenance,
        )
        meta = json.loads((folder / "model_meta.json").read_text())
        (folder / "model_meta.json").write_text(json.dumps({**meta, "name": name, "input_tag": name}))
    write_report(tmp_path / "report", [tmp_path / "r"])
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1 and page.count("</script>") == 1
    assert "<img" not in page and "<svg onload" not in page
    embedded = re.search(r"^const names = (.*);$", page, re.M)
    assert embedded and any(each.startswith(name) for each in json.loads(embedded[1]).values())
    tex = (tmp_path / "report/report.tex").read_text(encoding="utf-8")
    assert "\\input" not in tex
    assert not re.search(r"\\\\\n(\[|\*)", tex), "neither a bracket nor a star after the end of a row"
    markdown = (tmp_path / "report/report.md").read_text(encoding="utf-8")
    assert "<img" not in markdown and "<script" not in markdown and "](javascript" not in markdown
    assert escape_markdown(name) in markdown and escape_latex(name) in tex


@row("Names that begin with `=`, `+`, `-` or `@`", "begin with `'` in CSV, so that a spreadsheet shows them")
@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1", "-1+2", "@SUM(A1)"])
def test_formulas_in_csv(tmp_path: Path, name: str) -> None:
    for provenance, number in (("paper", "table2"), ("demo", "other_samples")):
        folder = write_model(tmp_path / provenance, "m", {"nights": 0.5}, n=20, provenance=provenance)
        meta = json.loads((folder / "model_meta.json").read_text())
        (folder / "model_meta.json").write_text(json.dumps({**meta, "name": name}))
        write_report(tmp_path / "report", [tmp_path / provenance], ["csv"])
        lines = list(csv.reader((tmp_path / f"report/{number}.csv").read_text(encoding="utf-8").splitlines()))
        assert not [cell for line in lines[1:] for cell in line[:2] if cell.startswith(("=", "+", "-", "@"))]
        assert f"'{name}" in {line[1] for line in lines}


@row(
    "Names of models and sets with `|`, backticks or HTML in `bench compare --format markdown`",
    "are text in one cell",
)
def test_markdown_of_comparisons(tmp_path: Path) -> None:
    cells = {"of": "a|b`<img>", "n": 3, "x|y": 0.5, "difference": "+0.1"}
    result = Result([], title="all", parts=[Result([cells], title="<b> beside *c*")])
    lines = result.to_markdown().splitlines()
    assert lines[0] == r"**&lt;b> beside \*c\***"
    for line in lines[2:]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 5
    assert "<img" not in lines[-1]


def test_the_table_is_what_was_tried() -> None:
    for name in MODULES:
        importlib.import_module(name)
    section = (
        PAGE.read_text(encoding="utf-8").partition("## Benchmark data and results\n")[2].partition("\n## ")[0]
    )
    found = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", section.partition("|---|---|\n")[2], re.M))
    assert found == {tried.replace("|", r"\|"): happens for tried, happens in ROWS.items()}
