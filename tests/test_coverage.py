"""The simulation behind the table of coverage: in small, and what it takes for true against plain averages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from docs.experiments.coverage import main, measure, tabulate
from docs.experiments.coverage_cases import CASES, Case, Row
from docs.experiments.coverage_draws import (
    TRUE_PRECISION,
    draw_alone,
    draw_groups,
    draw_pairs,
    draw_precisions,
    draw_scores,
    draw_ten_groups,
    draw_two_models,
    draw_within,
)

PAGE = Path(__file__).parent.parent / "docs" / "coverage.md"
# Groups that nobody told of make intervals too narrow, and so do few large ones: the table shows by how much.
UNTOLD = [case for case in CASES if "not told" in case.rows[0].samples]
FEW = [case for case in CASES if case.rows[0].samples == "in ten groups"]


@pytest.mark.parametrize("draw", [draw_alone, draw_groups, draw_ten_groups, draw_pairs])
@pytest.mark.parametrize("chance", [0.6, 0.9])
def test_answers_are_right_with_their_chance(draw, chance: float) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    means = [draw(rng, 400, chance)[0].mean() for _ in range(300)]
    assert np.mean(means) == pytest.approx(chance, abs=4 * np.std(means) / np.sqrt(300))
    again, gains = [], []
    for _ in range(300):
        _, clusters = draw(rng, 400, 0.5)
        again.append(draw_within(rng, clusters, chance).mean())
        first, second, _ = draw_two_models(rng, 400, draw, 0.04)
        gains.append((second - first).mean())
    assert np.mean(again) == pytest.approx(chance, abs=4 * np.std(again) / np.sqrt(300))
    assert np.mean(gains) == pytest.approx(0.04, abs=4 * np.std(gains) / np.sqrt(300))


def test_groups_and_photos_make_answers_alike() -> None:
    rng = np.random.default_rng(1)
    for draw in (draw_groups, draw_pairs):
        means = [draw(rng, 400, 0.7)[0].mean() for _ in range(400)]
        assert np.std(means) > 1.2 * np.sqrt(0.21 / 400)


def test_true_precision_is_the_mean_over_queries() -> None:
    values = draw_precisions(np.random.default_rng(2), 400_000, np.arange(400_000))
    assert pytest.approx(np.nanmean(values, axis=0).mean(), abs=2e-3) == TRUE_PRECISION


@pytest.mark.parametrize("together", [1, 5])
def test_scores_win_as_bradley_and_terry_have_it(together: int) -> None:
    scores = draw_scores(np.random.default_rng(3), np.arange(200_000) // together, (0.5, 0.0))
    assert (scores[:, 0] > scores[:, 1]).mean() == pytest.approx(1 / (1 + np.exp(-0.5)), abs=0.006)
    ahead = (scores[:, 0] > scores[:, 1]).reshape(-1, 5)
    spread = ahead.mean(axis=1).var() / (ahead.mean() * (1 - ahead.mean()) / 5)
    assert (spread > 1.5) == (together == 5)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case not in UNTOLD + FEW], ids=lambda case: f"{case.rows[0]}"
)
@pytest.mark.parametrize("n", [50, 400])
def test_in_small(case: Case, n: int) -> None:
    for row, share in measure(case, n, 40 if case.rows[0].is_test else 150, seed=7).items():
        # Three to four errors of so many draws beside the target.
        assert share <= 0.11 if row.is_test else share >= 0.87, row


@pytest.mark.parametrize("case", UNTOLD, ids=lambda case: case.rows[0].samples)
def test_groups_that_are_not_told_are_too_sure(case: Case) -> None:
    assert max(measure(case, 400, 100).values()) < 0.87


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.rows[0].samples)
def test_few_large_groups_are_too_sure(case: Case) -> None:
    small, large = (measure(case, n, 400)[case.rows[0]] for n in (50, 400))
    assert small > 0.93 > large > 0.8


def test_table() -> None:
    interval, test = Row("a", "b"), Row("c", "d", is_test=True)
    case = Case((interval, test), lambda rng, n: [1.0, 0.25])
    assert measure(case, 50, 3) == {interval: 1, test: 0.25}
    table = tabulate([(interval, [0.95, 0.971, None]), (test, [0.055, 0.056, 0.0])], (50, 400, 5000))
    assert table.splitlines()[2:] == ["| a | b | 95.0 | 97.1* | – |", "| c | d | 5.5 | 5.6* | 0.0 |"]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--repetitions", "2", "--sizes", "50", "60", "--only", "mAP"]) == 0
    assert capsys.readouterr().out.count("| `bench`: mAP of retrieval |") == 2


def test_the_page_has_a_line_for_each_row_and_marks_what_is_outside() -> None:
    lines = re.findall(
        r"^\| (.+?) \| (.+?) \| +([\d.]+.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    rows = [row for case in CASES for row in case.rows]
    assert [line[:2] for line in lines] == [(row.of, row.samples) for row in rows]
    for row, (*_, cells) in zip(rows, lines, strict=True):
        for cell in cells.split(" | "):
            if cell != "–":
                share = float(cell.rstrip("*"))
                outside = share > 5.5 if row.is_test else not 93 <= share <= 97
                # Rounded to a tenth, a figure on the edge may be on either side of it.
                assert cell.endswith("*") == outside or share in (5.5, 93.0, 97.0), (row, cell)
