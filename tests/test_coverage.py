"""The simulation behind the table of coverage: in small, and what it takes for true against plain averages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from docs.experiments.benchmark_coverage import (
    CASES,
    TRUE_PRECISION,
    Case,
    draw_alone,
    draw_groups,
    draw_pairs,
    draw_within,
    main,
    measure,
    tabulate,
)

PAGE = Path(__file__).parent.parent / "docs" / "benchmark_statistics.md"
# Groups that nobody told of make intervals too narrow: the table shows by how much.
UNTOLD = [case for case in CASES if "not told" in case.samples]


@pytest.mark.parametrize("draw", [draw_alone, draw_groups, draw_pairs])
@pytest.mark.parametrize("chance", [0.6, 0.9])
def test_answers_are_right_with_their_chance(draw, chance: float) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    means = [draw(rng, 400, chance)[0].mean() for _ in range(300)]
    assert np.mean(means) == pytest.approx(chance, abs=4 * np.std(means) / np.sqrt(300))
    again = []
    for _ in range(300):
        _, clusters = draw(rng, 400, 0.5)
        again.append(draw_within(rng, clusters, chance).mean())
    assert np.mean(again) == pytest.approx(chance, abs=4 * np.std(again) / np.sqrt(300))


def test_groups_and_photos_make_answers_alike() -> None:
    rng = np.random.default_rng(1)
    for draw in (draw_groups, draw_pairs):
        means = [draw(rng, 400, 0.7)[0].mean() for _ in range(400)]
        assert np.std(means) > 1.2 * np.sqrt(0.21 / 400)


def test_true_precision_is_the_mean_over_queries() -> None:
    rng = np.random.default_rng(2)
    middles = rng.beta(1.6, 1.0, 400_000)
    medium = rng.beta(8 * middles + 0.2, 8 * (1 - middles) + 0.2)
    expected = (medium.mean() + (medium**2).mean()) / 2
    assert pytest.approx(expected, abs=2e-3) == TRUE_PRECISION


@pytest.mark.parametrize("case", [case for case in CASES if case not in UNTOLD], ids=lambda case: case.name)
def test_in_small(case: Case) -> None:
    found = measure(case, 400, 100, seed=7)
    # Three errors of a hundred draws beside the target.
    assert found <= 0.12 if case.is_test else found >= 0.87


def test_groups_that_are_not_told_are_too_sure() -> None:
    assert all(measure(case, 400, 100) < 0.9 for case in UNTOLD)
    assert UNTOLD


def test_table() -> None:
    interval, test = Case("a", "b", lambda rng, n: 1.0), Case("c", "d", lambda rng, n: 0.0, is_test=True)
    assert measure(interval, 50, 3) == 1
    table = tabulate([(interval, [0.95, 0.971, None]), (test, [0.055, 0.056, 0.0])], (50, 400, 5000))
    assert table.splitlines()[2:] == ["| a | b | 95.0 | 97.1* | – |", "| c | d | 5.5 | 5.6* | 0.0 |"]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--repetitions", "2", "--sizes", "50", "--only", "mAP"]) == 0
    assert capsys.readouterr().out.count("| a retrieval set's mAP |") == 2


def test_page_has_a_line_for_each_case() -> None:
    lines = re.findall(r"^\| (.+?) \| (.+?) \| +[\d.]+\*? \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [pair for pair in lines if pair in {(case.name, case.samples) for case in CASES}] == [
        (case.name, case.samples) for case in CASES
    ]
