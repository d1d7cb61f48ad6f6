"""`unisim rank --prompts`: the verdict on generators, in numbers and in sentences."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Run, unisim, write_image

from unisim_metrics import UniSimRanking, load_model
from unisim_metrics.cli.comparing.contest import Contest

TEXTS = ["a red dog", "a photo of a cat", "a bright image", "a car", "a blue sky", "two birds", "a tree"]


@pytest.fixture
def rank(tmp_path: Path, tiny_clip_dir: Path) -> Callable[..., Run]:
    """Rank generators of random images over prompts."""

    def run(names: Sequence[str], texts: Sequence[str], *options: object) -> Run:
        for seed, name in enumerate(names):
            for number in range(len(texts)):
                write_image(tmp_path / name / f"{number}.png", seed=100 * seed + number)
        prompts = tmp_path / "prompts.jsonl"
        rows = [json.dumps({"name": number, "text": text}) for number, text in enumerate(texts)]
        prompts.write_text("\n".join(rows), encoding="utf-8")
        folders = [tmp_path / name for name in names]
        return unisim("rank", *folders, "--prompts", prompts, "-m", tiny_clip_dir, *options)

    return run


def contest(scores: np.ndarray, groups: Sequence[str] | None = None, **settings: Any) -> Contest:
    n, count = scores.shape
    trials = [f"prompt {number}" for number in range(n)]
    names = [f"g{index}" for index in range(count)]
    given = {"kind": "generator", "unit": "prompts", "signature": "unisim|x", "confidence": 0.95, **settings}
    items = [[Path(name) / "0.png" for name in names]] * n
    return Contest(names=names, trials=trials, items=items, scores=scores, groups=groups, **given)


def wins(won: int, lost: int, ties: int = 0) -> np.ndarray:
    first = np.repeat([1.0, 0.0, 0.5], [won, lost, ties])
    return np.column_stack([first, np.full(len(first), 0.5)])


def test_json_has_the_figures_of_the_metric(
    rank: Callable[..., Run], tmp_path: Path, tiny_clip_dir: Path
) -> None:
    names = ["a", "b", "c"]
    run = rank(names, TEXTS, "--json", "--confidence", "0.9")
    assert run.status == 0
    result = json.loads(run.out)
    ranking = UniSimRanking(load_model(tiny_clip_dir), confidence=0.9).set_dtype(torch.float64)
    ranking.update([[tmp_path / name / f"{n}.png" for name in names] for n in range(len(TEXTS))], TEXTS)
    values = {name: value.numpy() for name, value in ranking.compute().items()}
    assert result["signature"] == ranking.signature
    assert (result["prompts"], result["left_out"], result["groups"], result["confidence"]) == (7, 0, 7, 0.9)
    for row in result["results"]:
        index = names.index(row["generator"])
        found = [row[f"win_rate{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx(
            [values["win_rate"][index], *values["win_rate_interval"][index]], abs=1e-9
        )
        found = [row[f"strength{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx(
            [values["strengths"][index], *values["strengths_interval"][index]], abs=1e-9
        )
        assert row["mean_rank"] == pytest.approx(values["mean_rank"][index], abs=1e-9)
    assert len(result["pairs"]) == 3
    for pair in result["pairs"]:
        place = names.index(pair["first"]), names.index(pair["second"])
        assert pair["wins"] == pytest.approx(values["win_matrix"][place], abs=1e-9)
        ends = pair["wins_low"], pair["wins_high"]
        assert ends == pytest.approx(tuple(values["win_matrix_interval"][place]), abs=1e-9)
        assert pair["p"] == pytest.approx(values["p_values"][place], abs=1e-9)
        assert pair["settled"] == (pair["p_holm"] <= 0.1)


def test_csv_has_each_generators_own_view(rank: Callable[..., Run]) -> None:
    names = ["a", "b", "c"]
    pairs = {
        frozenset((pair["first"], pair["second"])): pair
        for pair in json.loads(rank(names, TEXTS, "--json").out)["pairs"]
    }
    rows = list(csv.DictReader(io.StringIO(rank(names, TEXTS, "--csv").out)))
    assert [row["signature"][:7] for row in rows] == ["unisim|"] * 3
    for row in rows:
        own = row["generator"]
        assert row[f"beats_{own}"] == row[f"p_{own}"] == ""
        for other in set(names) - {own}:
            pair = pairs[frozenset((own, other))]
            turned = pair["first"] == other
            low, high = pair["wins_low"], pair["wins_high"]
            expected = [1 - pair["wins"], 1 - high, 1 - low] if turned else [pair["wins"], low, high]
            found = [float(row[f"beats{end}_{other}"]) for end in ("", "_low", "_high")]
            assert found == pytest.approx(expected)
            sign = -1 if turned else 1
            assert float(row[f"difference_{other}"]) == pytest.approx(sign * pair["difference"])
            ends = [sign * pair[f"difference_{end}"] for end in ("low", "high")]
            found = [float(row[f"difference_{end}_{other}"]) for end in ("low", "high")]
            assert found == pytest.approx(sorted(ends))
            assert float(row[f"p_holm_{other}"]) == pytest.approx(pair["p_holm"])


@pytest.mark.parametrize("form", ["--format=table", "--format=markdown"])
def test_people_are_told_in_sentences(rank: Callable[..., Run], form: str) -> None:
    run = rank(["a", "b"], TEXTS[:6], form)
    assert run.status == 0
    told = json.loads(rank(["a", "b"], TEXTS[:6], "--json").out)["verdict"]
    assert len(told) == 1 and told[0] in run.out
    assert "2 generators over 6 prompts" in run.out and "unisim" in run.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (wins(244, 156), "g0 beats g1: 61 % [56, 66], p = 1e-05, on 400 prompts."),
        (wins(156, 244), "g1 beats g0: 61 % [56, 66], p = 1e-05, on 400 prompts."),
        (
            wins(104, 96),
            "g0 and g1 cannot be told apart: 52 % [45, 59], p = 0.6207, on 200 prompts; some 4,800 further prompts"
            " would settle a difference of this size.",
        ),
        (
            wins(0, 0, 30),
            "g0 and g1 cannot be told apart: 50 % [47, 53], p = 1.0000, on 30 prompts; there is no difference to be"
            " seen.",
        ),
        (wins(760, 700, 40), "52.0 % [49.5, 54.5], p = 0.1225, on 1,500 prompts"),
    ],
)
def test_sentences(scores: np.ndarray, expected: str) -> None:
    [sentence] = contest(scores).sentences()
    assert expected in sentence


def test_shares_that_leave_each_other_make_a_hundred() -> None:
    shown = [part["win rate"].split(" ")[0] for part in contest(wins(23, 17)).result({}).parts[0].rows]
    assert shown == ["58", "42"]


def test_the_smallest_difference_that_shows_is_told() -> None:
    assert "a true share of wins of 57 % or more in 80 % of cases" in contest(wins(200, 200)).remarks()[1]
    assert "So few prompts would not show even a share of wins of 100 %" in contest(wins(1, 1)).remarks()[1]


def test_prompts_of_one_text_are_one_group(rank: Callable[..., Run]) -> None:
    alone = json.loads(rank(["a", "b", "c"], [*TEXTS, *TEXTS], "--json").out)
    assert (alone["prompts"], alone["groups"]) == (14, 7)
    assert "The 14 prompts share 7 texts or references; all of one count as one group." in alone["remarks"]


def test_one_text_for_all_is_what_the_verdict_is_about() -> None:
    scores = wins(40, 10)
    one = contest(scores, ["a fox"] * 50)
    assert one.verdict == contest(scores).verdict
    assert any("the verdict is about that alone" in remark for remark in one.remarks())
    assert not any("alone" in remark for remark in contest(scores[:1], ["a fox"]).remarks())


def test_of_many_generators_those_are_told_that_follow_each_other() -> None:
    scores = np.random.default_rng(0).normal(np.arange(6) / 2, size=(200, 6))
    many = contest(scores)
    assert [sentence.split(" ")[0] for sentence in many.sentences()] == ["g5", "g4", "g3", "g2", "g1"]
    result = many.result({})
    assert len(result.details["pairs"]) == len(result.parts[1].rows) == 15


def test_a_generator_that_always_wins_has_a_finite_strength() -> None:
    scores = np.column_stack([np.full(20, 9.0), *wins(12, 8).T])
    found = contest(scores)
    assert any("half a win each way" in remark for remark in found.remarks())
    assert all(math.isfinite(row["strength_high"]) for row in found.result({}).rows)


def test_one_prompt_tells_nothing(rank: Callable[..., Run]) -> None:
    run = rank(["a", "b", "c"], TEXTS[:1], "--json")
    assert run.status == 0
    pairs = json.loads(run.out)["pairs"]
    assert [pair["p"] for pair in pairs] == [1, 1, 1]
    assert [pair["difference_low"] for pair in pairs] == [None] * 3
    assert rank(["a", "b", "c"], TEXTS[:1]).status == 0


def test_hostile_names_are_shown_as_text(rank: Callable[..., Run]) -> None:
    names = ["\x1b[31mred", "[bold]a | <b>"]
    run = rank(names, TEXTS)
    assert "\x1b" not in run.out and r"\x1b[31mred" in run.out and "[bold]a | <b>" in run.out
    lines = rank(names, TEXTS, "--format", "markdown").out
    assert "<b>" not in lines and "\x1b" not in lines and r"[bold]a \| &lt;b>" in lines
    assert {row["generator"] for row in json.loads(rank(names, TEXTS, "--json").out)["results"]} == set(names)


@pytest.mark.parametrize("confidence", ["0", "1", "95", "nan"])
def test_confidence_is_a_share(rank: Callable[..., Run], confidence: str) -> None:
    run = rank(["a", "b"], TEXTS[:2], "--confidence", confidence)
    assert run.status == 2 and "Option --confidence must lie between 0 and 1" in run.err


def test_prompts_without_an_answer_are_counted(
    rank: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = torch.tensor([[0.9, 0.1], [torch.nan, torch.nan], [0.2, 0.8], [0.6, 0.4]])
    monkeypatch.setattr("unisim_metrics.functional.unisim_rank", lambda *arguments: scores)
    result = json.loads(rank(["a", "b"], TEXTS[:4], "--json").out)
    assert (result["prompts"], result["left_out"], result["unanswered"]) == (3, 0, 1)
    monkeypatch.setattr("unisim_metrics.functional.unisim_rank", lambda *arguments: scores[1:2])
    run = rank(["a", "b"], TEXTS[:1])
    assert run.status == 1 and "no answer that names an alternative" in run.err


def test_the_picture_has_the_intervals(
    rank: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    drawn = []
    monkeypatch.setattr(figures.Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    run = rank(
        ["a", "b", "c"], TEXTS, "--json", "--confidence", "0.9", "--save-figure", tmp_path / "wins.png"
    )
    assert run.status == 0
    rows = json.loads(run.out)["results"]
    [figure] = drawn
    [axes] = figure.axes
    [whiskers] = axes.collections
    ends = np.array(whiskers.get_segments())
    np.testing.assert_allclose(ends[:, :, 0], [[row["win_rate_low"], row["win_rate_high"]] for row in rows])
    np.testing.assert_allclose(ends[:, :, 1], [[index, index] for index in range(3)])
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([row["win_rate"] for row in rows])
    assert [label.get_text() for label in axes.get_yticklabels()] == [row["generator"] for row in rows]
    shown = [text.get_text() for text in axes.texts]
    assert len(shown) == 3 and all(" % [" in text for text in shown)
    assert any("with 90 % intervals" in text.get_text() for text in figure.texts)
