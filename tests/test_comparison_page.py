"""The page of `unisim rank` and `unisim compare` in a headless Chromium: no error, nothing fetched, texts as texts.

`UNISIM_COMPARISON_SCREENSHOT=FILE.png pytest tests/test_comparison_page.py` writes the picture of the documentation.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import NO_BROWSER, Page, find_browser
from browser_pages import open_watched, show
from command_line import unisim, write_image
from PIL import Image

from docs.experiments.worsened_scenes import main as write_scenes
from unisim_metrics.cli.comparing.contest import Contest
from unisim_metrics.cli.comparing.report.charts import distribution, whiskers
from unisim_metrics.cli.comparing.report.page import to_html
from unisim_metrics.statistics.intervals import Estimate

BROWSER = find_browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)

HOSTILE = (
    "<img src=x onerror=problems.push(1)>",
    "</script><script>problems.push(2)</script>",
    "\x1b[31mred \u202eturned [bold]x[/] {{ 7 * 7 }}",
    "&lt;b&gt; \" ' onload=problems.push(3)",
)
NAMES = ("<b>a</b>", "b\x1b[1m", "c")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [write_image(folder / f"{number} <b>&.png", number) for number in range(6)]


@pytest.fixture(scope="module")
def contest(pictures: list[Path]) -> Contest:
    """Three competitors over many prompts, some of them hostile; some pictures are missing."""
    n = 40
    scores = np.random.default_rng(0).normal([0.6, 0.0, 0.1], size=(n, 3))
    trials = [*HOSTILE, *(f"prompt {number}" for number in range(n - len(HOSTILE)))]
    # The hostile ones are the largest wins.
    scores[:4, 0] += 5
    missing = pictures[0].with_name("missing <i>.png")
    items = [[pictures[number % 6], missing, "a caption <u>"] for number in range(n)]
    return Contest("run", NAMES, "prompts", trials, items, scores, trials, "unisim|<s>x</s>", 0.95)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert BROWSER is not None
    with open_watched(BROWSER, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def file(contest: Contest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(to_html(contest, left_out=2), encoding="utf-8")
    return path


def column(page: Page, number: int, table: str = "#trials") -> list[Any]:
    values: list[Any] = page.evaluate(
        f"[...document.querySelectorAll('{table} tbody tr')].filter((row) => !row.hidden)"
        f".map((row) => row.cells[{number}]).map((cell) => cell.dataset.value === undefined ? cell.innerText.trim()"
        " : Number(cell.dataset.value))"
    )
    return values


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1240, "light"), (390, "dark")])
def test_no_error_and_nothing_fetched(browser: Page, file: Path, width: int, scheme: str) -> None:
    page = show(browser, file, width, scheme=scheme)
    assert page.evaluate("problems") == []
    names = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in names if not name.startswith("data:")] == []
    # Tables scroll in their frames; the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


@needs_browser
def test_hostile_texts_are_shown_as_text(browser: Page, file: Path, contest: Contest) -> None:
    page = show(browser, file)
    shown = page.evaluate("document.body.innerText")
    for text in (*HOSTILE[:2], HOSTILE[3], "<b>a</b>", "unisim|<s>x</s>", "missing <i>.png", "a caption <u>"):
        assert text in shown
    assert r"\x1b[31mred \u202eturned [bold]x[/] {{ 7 * 7 }}" in shown and r"b\x1b[1m" in shown
    assert page.evaluate("document.querySelectorAll('s, u, i, [onload], [onerror]').length") == 0
    assert page.evaluate("document.scripts.length") == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", file.read_text(encoding="utf-8"))
    assert contest.trials[0] == column(page, 0)[0]


@needs_browser
def test_a_script_of_others_is_not_run(browser: Page, file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "report.html"
    text = file.read_text(encoding="utf-8")
    broken.write_text(
        text.replace("<h2>Scores</h2>", "<script>problems.push('ran')</script>"), encoding="utf-8"
    )
    problems = show(browser, broken).evaluate("problems")
    assert "ran" not in problems and any("script-src" in problem for problem in problems)


@needs_browser
def test_the_table_sorts_and_finds(browser: Page, file: Path, contest: Contest) -> None:
    page = show(browser, file)
    order = [standing.index for standing in contest.verdict.standings]
    first = contest.scores[:, order[0]].tolist()
    assert column(page, 1) == first
    head = "#trials th:nth-child(2) button"
    for expected, way in ((sorted(first)[::-1], "descending"), (sorted(first), "ascending"), (first, None)):
        page.click(head)
        assert column(page, 1) == expected
        assert (
            page.evaluate("document.querySelector('#trials th:nth-child(2)').getAttribute('aria-sort')")
            == way
        )
    page.click("#trials th:last-child button")
    spread = contest.scores.max(axis=1) - contest.scores.min(axis=1)
    assert column(page, 4) == pytest.approx(sorted(spread.tolist(), reverse=True))
    page.click("#trials th:first-child button")
    prompts = [text for text in column(page, 0) if text.startswith("prompt")]
    assert prompts == [f"prompt {number}" for number in range(36)]
    page.type("#find", "PROMPT 1")
    assert len(column(page, 0)) == 11
    assert page.evaluate("document.getElementById('shown').textContent") == "11 of 40"


@needs_browser
def test_the_page_says_what_the_verdict_says(browser: Page, file: Path, contest: Contest) -> None:
    page = show(browser, file)
    told = page.evaluate("[...document.querySelectorAll('.verdict li')].map((item) => item.textContent)")
    assert [text.replace(r"\x1b", "\x1b") for text in told] == contest.sentences()
    settled = page.evaluate("[...document.querySelectorAll('.verdict li')].map((item) => item.className)")
    assert settled == ["settled" if duel.is_settled else "open" for duel in contest.verdict.duels]
    assert column(page, 3, "#verdict .sortable") == [duel.corrected for duel in contest.verdict.duels]
    assert "2 left out" in page.evaluate("document.querySelector('header').innerText")
    assert "1 picture could not be read" in page.evaluate("document.body.innerText")


@needs_browser
def test_the_largest_wins_are_shown(browser: Page, file: Path, contest: Contest) -> None:
    page = show(browser, file)
    duel = contest.verdict.duels[0]
    for number, (winner, loser) in enumerate(((duel.first, duel.second), (duel.second, duel.first))):
        gaps = contest.scores[:, winner] - contest.scores[:, loser]
        expected = [contest.trials[trial] for trial in np.argsort(-gaps)[:4]]
        shown = page.evaluate(
            f"[...document.querySelectorAll('.wins')[{number}].querySelectorAll('figcaption span')]"
            ".map((span) => span.textContent)"
        )
        assert [text.replace(r"\x1b", "\x1b").replace(r"\u202e", "\u202e") for text in shown] == expected


@needs_browser
def test_screenshot(browser: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    width, height = 1240, 1460
    chosen = os.environ.get("UNISIM_COMPARISON_SCREENSHOT")
    target = Path(chosen or "").absolute()
    write_scenes([str(tmp_path), *([] if chosen else ["--prompts", "8"])])
    monkeypatch.chdir(tmp_path)
    run = unisim("rank", "fine", "fair", "poor", "--prompts", "prompts.csv", "--report", "verdict")
    assert run.status == 0 and "Wrote verdict/report.html" in run.err
    page = show(browser, tmp_path / "verdict/report.html", width, height)
    assert page.evaluate("problems") == []
    page.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (width, height)
        assert len(picture.convert("RGB").getcolors(2**24)) > 500
        if chosen:
            picture.convert("RGB").save(target, optimize=True)


def test_two_competitors_have_no_strengths(pictures: list[Path]) -> None:
    scores = np.random.default_rng(1).normal(size=(5, 2))
    html = to_html(
        Contest(
            "run", ["a", "b"], "images", list("vwxyz"), [pictures[:2]] * 5, scores, None, "unisim|x", 0.95
        )
    )
    assert "Bradley-Terry" not in html and "could not be read" not in html
    assert html.count("data:image/jpeg") == 2 * sum(
        min(4, n) for n in np.bincount(scores.argmax(axis=1), minlength=2)
    )


@pytest.mark.parametrize("n", [1, 2, 500])
def test_a_distribution_counts_every_score(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=(n, 2)) if n > 1 else np.zeros((1, 2))
    found = distribution(scores, ["a", "b"], width=300, row=50)
    tallest = max(np.histogram(each, 30, (scores.min(), scores.max()))[0].max() for each in scores.T)
    for hill, column_of in zip(found.hills, scores.T, strict=True):
        tops = [float(top) for top in re.findall(r"V([\d.]+)H", hill.path)]
        heights = [(hill.base - top) / (50 * 0.86) * tallest for top in tops]
        assert sum(heights) == pytest.approx(n, abs=0.1 * n + 0.1)
        assert hill.mean.text == f"{column_of.mean():.4f}"
        assert 0 <= hill.mean.x <= 300
    values = [float(tick.text) for tick in found.ticks]
    assert values == sorted(values) and 2 <= len(values) <= 11


def test_whiskers_stand_where_the_shares_are() -> None:
    [first, second] = whiskers(
        [("a", Estimate(0.5, 0.25, 1.0), "x"), ("b", Estimate(0, 0, 0.1), "y")], width=200
    )
    assert (first.low, first.middle, first.high, second.middle) == (50, 100, 200, 0)
    assert first.y < second.y


def test_the_page_of_a_comparison(tmp_path: Path) -> None:
    for name in "ab":
        rows = [{"image": str(tmp_path / f"{n}.png"), "score": n / 10} for n in range(3)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"signature": "unisim|x", "results": rows}))
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    run = unisim("compare", *files, "--report", tmp_path / "new" / "folder")
    assert run.status == 0
    html = (tmp_path / "new/folder/report.html").read_text(encoding="utf-8")
    assert "2 runs over 3 images" in html and '<p class="note">None.</p>' in html


def test_a_file_that_is_no_picture_stays_out_of_the_page(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_text("password")
    for name, score in (("a", 0.1), ("b", 0.2)):
        rows = [{"image": str(secret), "score": score}]
        (tmp_path / f"{name}.json").write_text(json.dumps({"signature": "unisim|x", "results": rows}))
    assert (
        unisim("compare", tmp_path / "a.json", tmp_path / "b.json", "--report", tmp_path / "page").status == 0
    )
    html = (tmp_path / "page/report.html").read_text(encoding="utf-8")
    assert "1 picture could not be read" in html and "password" not in html and "data:image" not in html


def test_a_page_that_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (("rank", "a", "b", "--prompts", "p.txt"), ("compare", "a.json", "b.json")):
        run = unisim(*command, "--report", tmp_path / "file" / "inner")
        assert run.status == 2 and "Option --report must name a folder" in run.err
    run = unisim("rank", "a.png", "--report", tmp_path)
    assert run.status == 2 and "--report must come with --prompts" in run.err
