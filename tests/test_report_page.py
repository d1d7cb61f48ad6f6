"""The report's page in a headless Chromium: no error, nothing fetched, and everything that can be clicked.

`UNISIM_REPORT_SCREENSHOT=FILE.png pytest tests/test_report_page.py` writes the picture of the documentation.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import NO_BROWSER, Page, find_browser
from browser_pages import open_watched, show
from PIL import Image
from report_results import paper_shares, write_model

from unisim_metrics.benchmark.paper import PAPER_MODELS, PAPER_TABLES
from unisim_metrics.benchmark.report import write_report

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)

HOSTILE = "<img src=x onerror=problems.push(1)>"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of the paper alone, and one with models measured."""
    folder = tmp_path_factory.mktemp("report")
    write_report(folder / "paper", formats=["html"])
    curve = {f"hpdv2-nafc-{number}": 1.4 / number for number in range(3, 9)}
    write_model(
        folder / "0", "unisim-vit-b-32", {**paper_shares("unisim-vit-b-32"), **curve, "nights": 0.7}, n=150
    )
    write_model(folder / "0", HOSTILE, {"nights": 0.6}, n=100)
    for number in range(3):
        shares = {"nights": 0.9 - 0.1 * number, "polaris": 0.9}
        write_model(folder / str(number), "unisim-ll-n-0.5b", shares, n=100, demonstrations=number)
    write_report(folder / "measured", [folder / name for name in "012"], ["html"])
    return {name: folder / name / "report.html" for name in ("paper", "measured")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert BROWSER is not None
    with open_watched(BROWSER, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def paper(browser: Page, files: dict[str, Path]) -> Page:
    return show(browser, files["paper"])


@pytest.fixture
def measured(browser: Page, files: dict[str, Path]) -> Page:
    return show(browser, files["measured"])


def press(page: Page, selector: str) -> None:
    """Click where an element is, as a mouse does: what covers it would be clicked instead."""
    box = page.evaluate(
        f"(() => {{ const element = document.querySelector({json.dumps(selector)});"
        " element.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
        " const box = element.getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)


def key(page: Page, name: str, text: str = "") -> None:
    codes = {"Enter": 13, " ": 32, "Tab": 9}
    for kind in ("keyDown", "keyUp"):
        page.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=name,
            windowsVirtualKeyCode=codes[name],
            **({"text": text} if text and kind == "keyDown" else {}),
        )


def column(page: Page, table: int, number: int) -> list[Any]:
    """What a column of a table shows, row by row; None for a dash."""
    values: list[Any] = page.evaluate(
        f"[...document.querySelectorAll('#table-{table} tr[data-model]')].filter((row) => !row.hidden)"
        f".map((row) => {number} == 0 ? row.cells[0].innerText.trim().split(/[♣‡]/)[0].trim()"
        f" : row.cells[{number}].dataset.value ?? null).map((value) => {number} && value ? Number(value) : value)"
    )
    return values


@pytest.mark.parametrize("name", ["paper", "measured"])
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_no_error_and_nothing_fetched(
    browser: Page, files: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    page = show(browser, files[name], width, scheme=scheme)
    assert page.evaluate("problems") == []
    assert page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)") == []
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    # Tables scroll in their frames; the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_shows_the_papers_figures(paper: Page) -> None:
    for number, table in PAPER_TABLES.items():
        names = [PAPER_MODELS[model].name for model in table.figures]
        assert column(paper, number, 0) == names
        for index, head in enumerate(table.columns, 1):
            assert column(paper, number, index) == [
                figures.get(head.id) for figures in table.figures.values()
            ]


class TestSorting:
    LAST = "#table-8 thead tr:last-child th:last-child button"

    def test_down_up_and_back(self, paper: Page) -> None:
        before = column(paper, 8, 13)
        known = [value for value in before if value is not None]
        gaps: list[Any] = [None] * (len(before) - len(known))
        press(paper, self.LAST)
        assert column(paper, 8, 13) == sorted(known, reverse=True) + gaps
        assert (
            paper.evaluate("document.querySelector('#table-8 th:last-child[aria-sort]').ariaSort")
            == "descending"
        )
        press(paper, self.LAST)
        assert column(paper, 8, 13) == sorted(known) + gaps
        press(paper, self.LAST)
        assert column(paper, 8, 13) == before
        assert paper.evaluate("document.querySelectorAll('[aria-sort]').length") == 0
        assert paper.evaluate("problems") == []

    def test_by_name_with_the_keyboard(self, paper: Page) -> None:
        names = column(paper, 3, 0)
        paper.evaluate("document.querySelector('#table-3 th.model button').focus()")
        key(paper, "Enter", "\r")
        assert column(paper, 3, 0) == sorted(names, key=str.lower)
        key(paper, "Tab")
        key(paper, " ", " ")
        by_task = [value for value in column(paper, 3, 1) if value is not None]
        assert by_task == sorted(by_task, reverse=True)


class TestFiltering:
    def test_by_name(self, paper: Page) -> None:
        paper.type("#find", "internvl")
        assert {name.split("-")[0] for name in column(paper, 6, 0)} == {"InternVL2.5"}
        assert paper.evaluate("document.getElementById('shown').textContent") == "3 of 25 models"
        headings = "[...document.querySelectorAll('#table-6 .heading')].filter((row) => !row.hidden).length"
        assert paper.evaluate(headings) == 1, "headings of what is hidden are hidden"

    def test_by_group(self, paper: Page) -> None:
        press(paper, ".chip:has([value='general-purpose'])")
        press(paper, ".chip:has([value='specialized'])")
        assert all(name.startswith("UniSim") for name in column(paper, 2, 0))
        press(paper, ".chip:has([value='specialized'])")
        assert len(column(paper, 2, 0)) == 11

    def test_stays_while_sorted(self, paper: Page) -> None:
        press(paper, TestSorting.LAST)
        paper.type("#find", "clip")
        values = column(paper, 8, 13)
        assert values == sorted(values, reverse=True) and len(values) == 3

    def test_measured_only(self, measured: Page) -> None:
        press(measured, ".chip:has(#only-measured)")
        assert column(measured, 2, 0) == ["UniSim ViT-B/32", "UniSim LL-N-0.5B", HOSTILE]
        assert measured.evaluate("problems") == []


class TestDrawing:
    def test_ticks_draw_and_the_legend_takes_away(self, paper: Page) -> None:
        drawn = "document.querySelectorAll('.series.on').length"
        assert paper.evaluate(drawn) == 6
        press(paper, "#table-6 .draw[value='m1']")
        assert paper.evaluate(drawn) == 7
        assert paper.evaluate("document.querySelector('#table-2 .draw[value=m1]').checked"), "in all tables"
        assert paper.evaluate("document.querySelector('.legend li:last-child').innerText") == "CLIP ViT-L/14"
        press(paper, ".legend li:last-child button")
        assert paper.evaluate(drawn) == 6

    def test_colours_differ(self, paper: Page) -> None:
        colors = paper.evaluate(
            "[...document.querySelectorAll('.series.on path')].map((path) => getComputedStyle(path).stroke)"
        )
        assert len(set(colors)) == len(colors) == 6

    def test_curves_are_of_what_was_measured(self, measured: Page) -> None:
        points = "[...document.querySelectorAll('#curves svg')].map((svg) => svg.querySelectorAll('circle').length)"
        assert measured.evaluate(points) == [7, 3]
        assert measured.evaluate("document.querySelectorAll('#curves .empty').length") == 0

    def test_without_results_the_commands_stand_there(self, paper: Page) -> None:
        assert "unisim bench" in paper.evaluate("document.getElementById('curves').innerText")


class TestMeasured:
    def test_stands_above_the_papers_figure(self, measured: Page) -> None:
        cell = "document.querySelector('#table-2 tr.measured td')"
        shown = measured.evaluate(f"{cell}.innerText").split()
        ours = "".join(shown[:-1]).rstrip("†")
        assert ours[0] == "▼" and float(ours[1:]) == pytest.approx(70, abs=12)
        assert shown[-1] == "87.7"

    def test_names_are_text(self, measured: Page) -> None:
        assert measured.evaluate("document.querySelectorAll('img').length") == 0
        assert column(measured, 2, 0)[-1] == HOSTILE


def test_light_and_dark(paper: Page) -> None:
    light = paper.evaluate("getComputedStyle(document.body).backgroundColor")
    press(paper, "#theme")
    assert paper.evaluate("document.documentElement.dataset.theme") == "dark"
    assert paper.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_print_shows_the_tables_and_no_controls(paper: Page) -> None:
    paper.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert paper.evaluate("getComputedStyle(document.querySelector('.tools')).display") == "none"
        assert paper.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    finally:
        paper.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screenshot(browser: Page, files: dict[str, Path], tmp_path: Path, scheme: str) -> None:
    page = show(browser, files["paper"], 1360, 1250, scheme)
    page.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (1360, 1250)
        corner = picture.convert("L").getpixel((2, 2))
        assert corner > 200 if scheme == "light" else corner < 60
        assert len(picture.convert("RGB").getcolors(2**24)) > 1000
        if scheme == "light" and "UNISIM_REPORT_SCREENSHOT" in os.environ:
            picture.convert("RGB").save(os.environ["UNISIM_REPORT_SCREENSHOT"], optimize=True)
