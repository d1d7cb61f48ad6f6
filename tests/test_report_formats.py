"""The report's formats, read back: CSV, Markdown, LaTeX and HTML, with names that would break each."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_results import paper_shares, write_model

from unisim_metrics.benchmark.paper import PAPER_TABLES
from unisim_metrics.benchmark.report import (
    FORMATS,
    Measurement,
    Table,
    build_tables,
    read_measurements,
    write_report,
)
from unisim_metrics.benchmark.report.latex import escape
from unisim_metrics.benchmark.report.page import to_html

HOSTILE = [
    "<script>alert(1)</script>",
    "a_b^c~d#e%f$g&h{i}j\\k",
    "| pipe | and `code` *star* _under_ [link](x) &lt; ",
    "\"quoted\" 'single' </td></script>",
    "[bracketed]",
    "日本語 ♣ ü",
]
VOID = {"meta", "link", "input", "br"}


@pytest.fixture(scope="module")
def measurements(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measurement, ...]:
    """A model of the paper, and one for each hostile name."""
    results = tmp_path_factory.mktemp("results")
    shares = {**paper_shares("clip-vit-b-32"), "nights": 0.6, "hpdv2-nafc-3": 0.5}
    write_model(results, "clip-vit-b-32", shares, n=200, exact=True)
    for index, name in enumerate(HOSTILE):
        folder = write_model(
            results, f"model-{index}", {"nights": 0.9, "hpdv2": 0.8, "hpdv2-nafc-4": 0.4}, n=200
        )
        meta = json.loads((folder / "model_meta.json").read_text(encoding="utf-8"))
        (folder / "model_meta.json").write_text(json.dumps({**meta, "name": name}), encoding="utf-8")
    return read_measurements(results)


@pytest.fixture(scope="module")
def tables(measurements: tuple[Measurement, ...]) -> dict[int, Table]:
    return build_tables(measurements)


@pytest.fixture(scope="module")
def report(measurements: tuple[Measurement, ...], tables: dict[int, Table]) -> dict[str, str]:
    """The files by format, those of CSV as one."""
    from unisim_metrics.benchmark.report.csv_tables import to_csv
    from unisim_metrics.benchmark.report.latex import to_latex
    from unisim_metrics.benchmark.report.markdown import to_markdown

    return {
        "csv": to_csv(tables[2]),
        "markdown": to_markdown(tables),
        "latex": to_latex(tables),
        "html": to_html(tables, measurements),
    }


class TestCsv:
    def test_reads_back(self, report: dict[str, str], tables: dict[int, Table]) -> None:
        lines = list(csv.DictReader(io.StringIO(report["csv"])))
        paper = {
            line["model"].partition("@")[0]: {
                id: float(figure) for id, figure in list(line.items())[4:] if figure
            }
            for line in lines
            if line["source"] == "paper"
        }
        assert paper == PAPER_TABLES[2].figures
        assert [line["name"] for line in lines if line["source"] == "measured"] == [
            row.name for row in tables[2].rows if row.measurement is not None
        ]
        assert {line["name"] for line in lines} >= set(HOSTILE)

    def test_has_the_interval_and_what_lies_outside(
        self, report: dict[str, str], tables: dict[int, Table]
    ) -> None:
        lines = [
            line for line in csv.DictReader(io.StringIO(report["csv"])) if line["name"] == "CLIP ViT-B/32"
        ]
        by_source = {line["source"]: line for line in lines}
        (row,) = (row for row in tables[2].rows if row.name == "CLIP ViT-B/32")
        measured = row.cells["nights"].measured
        assert measured is not None
        for source, share in (("measured", measured.value), ("low", measured.low), ("high", measured.high)):
            assert float(by_source[source]["nights"]) == pytest.approx(100 * share, abs=0.005)
        assert float(by_source["outside"]["nights"]) == pytest.approx(60 - 85.1)
        assert by_source["outside"]["bapps"] == ""


class TestMarkdown:
    def test_every_row_has_every_column(self, report: dict[str, str]) -> None:
        widths = [
            {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")}
            for block in report["markdown"].split("## Table ")[1:]
        ]
        # A bar before the first cell and one behind the last.
        assert widths == [{len(table.columns) + 3} for table in PAPER_TABLES.values()]

    def test_figures_read_back(self, report: dict[str, str]) -> None:
        line = next(
            line for line in report["markdown"].splitlines() if line.startswith("| UniSim v1 LL-N-7B ♣")
        )
        figures = [float(re.sub(r"[*†]", "", cell)) for cell in line.split("|")[2:-1]]
        assert figures == list(PAPER_TABLES[6].figures["unisim-ll-n-7b-v1"].values())

    def test_marks_what_lies_outside(self, report: dict[str, str]) -> None:
        line = next(line for line in report["markdown"].splitlines() if line.startswith("| CLIP ViT-B/32"))
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        assert cells[0] == "60.0▼ (85.1)"
        assert re.fullmatch(r"68\.5 \(68\.6\)", cells[1])

    def test_names_are_text(self, report: dict[str, str]) -> None:
        assert "<script" not in report["markdown"]
        assert r"| a\_b^c\~d\#e%f\$g&amp;h\{i\}j\\k ‡ |" in report["markdown"]
        markdown = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
        page = markdown.render(report["markdown"])
        parsed = Nesting()
        parsed.feed(page)
        for name in HOSTILE:
            assert f"{' '.join(name.split())} ‡" in parsed.cells


class TestLatex:
    def test_is_balanced(self, report: dict[str, str]) -> None:
        # Escaped characters are letters to the braces.
        text = re.sub(r"\\[&%$#_{}\\]", "", report["latex"])
        depth = 0
        for brace in re.findall(r"[{}]", text):
            depth += 1 if brace == "{" else -1
            assert depth >= 0
        assert depth == 0
        assert text.count("$") % 2 == 0
        stack: list[str] = []
        for word, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
            if word == "begin":
                stack.append(name)
            else:
                assert stack.pop() == name
        assert stack == []

    def test_every_row_has_every_column(self, report: dict[str, str]) -> None:
        for block, table in zip(report["latex"].split(r"\toprule")[1:], PAPER_TABLES.values(), strict=True):
            body = block.split(r"\bottomrule")[0]
            for line in body.splitlines():
                if line.endswith(r"\\"):
                    spans = [int(count) for count in re.findall(r"\\multicolumn\{(\d+)\}", line)]
                    cells = len(re.findall(r"(?<!\\)&", line)) + 1
                    assert cells + sum(spans) - len(spans) == len(table.columns) + 1, line

    def test_figures_read_back(self, report: dict[str, str]) -> None:
        line = next(line for line in report["latex"].splitlines() if line.startswith("UniSim v1 LL-N-7B"))
        figures = [float(re.search(r"\d+\.\d", cell)[0]) for cell in line.split("&")[1:]]  # type: ignore[index]
        assert figures == list(PAPER_TABLES[6].figures["unisim-ll-n-7b-v1"].values())
        assert r"\textbf{99.9}\rlap{$^{\dagger}$}" in line

    def test_marks_what_lies_outside(self, report: dict[str, str]) -> None:
        lines = report["latex"].splitlines()
        at = next(index for index, line in enumerate(lines) if line.startswith("CLIP ViT-B/32"))
        assert lines[at].split(" & ")[1] == r"60.0\rlap{$^{\blacktriangledown}$}"
        assert lines[at + 1].startswith(r"\quad paper & 85.1 & 68.6")

    @pytest.mark.parametrize(
        ("text", "escaped"),
        [
            ("a_b&c", r"a\_b\&c"),
            ("100 %", r"100 \%"),
            ("\\input{x}", r"\textbackslash{}input\{x\}"),
            ("[4pt]", "{}[4pt]"),
            ("two\nlines", "two lines"),
            ("~^<>|", r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"),
        ],
    )
    def test_names_are_text(self, text: str, escaped: str) -> None:
        assert escape(text) == escaped

    @pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
    def test_compiles(self, tmp_path: Path) -> None:
        write_report(tmp_path, formats=["latex"])
        packages = r"\usepackage{booktabs,graphicx,amssymb}"
        whole = rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}\input{{report}}\end{{document}}"
        (tmp_path / "page.tex").write_text(whole, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]


class Nesting(HTMLParser):
    """Checks that elements are closed in order, and keeps what tests ask for."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += ((tag, name, value or "") for name, value in attrs)
        self.cells.append(self.text.strip())
        self.text = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += ((tag, name, value or "") for name, value in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}> at {self.getpos()}"
        self.open.pop()
        if tag in ("td", "th", "span"):
            self.cells.append(self.text.strip())


class TestHtml:
    def test_is_well_formed_and_alone(self, report: dict[str, str]) -> None:
        page = Nesting()
        page.feed(report["html"])
        page.close()
        assert page.open == []
        addresses = [
            value for _, name, value in page.attributes if name in ("src", "href", "xlink:href", "action")
        ]
        assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
        assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"<title>.*?</title>", "", report["html"]))
        assert "@import" not in report["html"] and "url(" not in report["html"]
        assert all(not name.startswith("on") for _, name, _ in page.attributes), "no script in attributes"

    def test_links_and_labels_have_targets(self, report: dict[str, str]) -> None:
        page = Nesting()
        page.feed(report["html"])
        ids = [value for _, name, value in page.attributes if name == "id"]
        assert len(ids) == len(set(ids))
        links = {value[1:] for _, name, value in page.attributes if name == "href" and value.startswith("#")}
        assert links <= set(ids)

    def test_names_are_text(self, report: dict[str, str]) -> None:
        page = Nesting()
        page.feed(report["html"])
        assert {name.strip() for name in HOSTILE} <= set(page.cells)
        assert "alert(1)</script>" not in report["html"]
        names = re.search(r"const names = (\{.*\});", report["html"])
        assert names and set(json.loads(names[1]).values()) >= set(HOSTILE)


def test_reports_of_equal_results_are_equal(tmp_path: Path) -> None:
    write_model(tmp_path / "results", "mine", {"nights": 0.9}, n=50)
    for out in ("a", "b"):
        write_report(tmp_path / out, [tmp_path / "results"], FORMATS)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_every_format_tells_the_way_that_was_taken(tmp_path: Path) -> None:
    """Naive is the better way by 20 points in these results, by either rule."""
    shares = {name: 0.8 for name in ("kadid-10k", "koniq-10k", "pieapp-iqa", "agiqa-3k-quality", "pipal")}
    write_model(tmp_path / "results", "mine", shares, n=200)
    write_model(tmp_path / "results", "theirs", {"pipal": 0.7}, n=200, provenance="demo")
    for paper_choice in (True, False):
        write_report(tmp_path / "report", [tmp_path / "results"], paper_choice=paper_choice)
        texts = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "report").iterdir()}
        lines = list(csv.DictReader(io.StringIO(texts["table6.csv"])))
        (methods,) = (line for line in lines if line["source"] == "method")
        assert {methods[name] for name in (*shares, "iqa")} == {"naive"}
        assert methods["nights"] == ""
        for name in ("report.md", "report.tex"):
            assert "asked. mine: IQA naive." in texts[name], name
        assert "IQA asked naive" in texts["report.html"]
        assert "asked naive" in texts["report.md"].partition("Other samples")[2]
        (apart,) = csv.DictReader(io.StringIO(texts["other_samples.csv"]))
        assert apart["method"] == "naive"
