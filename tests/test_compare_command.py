"""`unisim compare`: runs that `unisim score` wrote, paired and judged; files that are none of them, refused."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import unisim, write_image
from scipy.stats import binomtest, ttest_rel

from unisim_metrics.cli.runs import PairBy, match_runs, read_run
from unisim_metrics.statistics.verdict import judge

SIGNATURE = "unisim|model:tiny@0|task:image-text|input:32|v:1"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of scores as `unisim score` does."""

    def run(name: str, rows: Sequence[dict[str, Any]], signature: Any = SIGNATURE) -> Path:
        path = tmp_path / name
        if path.suffix == ".json":
            path.write_text(json.dumps({"signature": signature, "results": rows}), encoding="utf-8")
        else:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [*rows[0], "signature"])
                writer.writeheader()
                writer.writerows(row | {"signature": signature} for row in rows)
        return path

    return run


def rows(
    folder: str, scores: Sequence[float | None], texts: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    texts = [f"prompt {number}" for number in range(len(scores))] if texts is None else texts
    return [
        {"image": f"{folder}/{number}.png", "text": text, "score": score}
        for number, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]


def drawn(n: int, seed: int, gain: float = 0.0) -> list[float]:
    return np.random.default_rng(seed).normal(gain, size=n).tolist()


def compared(*arguments: object) -> dict[str, Any]:
    run = unisim("compare", *arguments, "--json")
    assert run.status == 0, run.err
    found: dict[str, Any] = json.loads(run.out)
    return found


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_what_score_writes_is_compared(tmp_path: Path, tiny_clip_dir: Path, suffix: str) -> None:
    texts = ["a red dog", "a cat", "a bright image", "a car"]
    files = []
    for seed, name in enumerate("ab"):
        for number in range(len(texts)):
            write_image(tmp_path / name / f"{number}.png", seed=10 * seed + number)
        table = tmp_path / f"{name}-pairs.jsonl"
        table.write_text(
            "\n".join(json.dumps({"image": f"{name}/{n}.png", "text": text}) for n, text in enumerate(texts))
        )
        files.append(tmp_path / f"{name}.{suffix}")
        assert unisim("score", table, "-m", tiny_clip_dir, "-o", files[-1]).status == 0
    result = compared(*files)
    scores = [[entry.score for entry in read_run(file).entries] for file in files]
    verdict = judge(np.array(scores).T)
    assert [row["run"] for row in result["results"]] == ["ab"[each.index] for each in verdict.standings]
    assert result["pairs"][0]["wins"] == verdict.duels[0].share.value
    assert (result["prompts"], result["left_out"], result["paired_by"]) == (4, 0, "text")
    assert result["signature"].startswith("unisim|model:tiny-clip@")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(texts))
    ranked = json.loads(
        unisim(
            "rank", tmp_path / "a", tmp_path / "b", "--prompts", prompts, "-m", tiny_clip_dir, "--json"
        ).out
    )
    assert ranked["pairs"][0]["wins"] == result["pairs"][0]["wins"]
    assert ranked["pairs"][0]["difference"] == pytest.approx(result["pairs"][0]["difference"], abs=1e-6)


def test_figures_are_those_of_scipy(write: Write) -> None:
    first, second = np.array(drawn(80, 0, 0.3)), np.array(drawn(80, 1))
    result = compared(write("a.json", rows("a", first.tolist())), write("b.csv", rows("b", second.tolist())))
    [pair] = result["pairs"]
    won = int((first > second).sum())
    low, high = binomtest(won, 80).proportion_ci(method="wilson")
    assert (pair["first"], pair["second"]) == ("a", "b")
    assert (pair["wins"], pair["wins_low"], pair["wins_high"]) == pytest.approx(
        (won / 80, low, high), abs=1e-9
    )
    assert pair["p"] == pytest.approx(binomtest(won, 80).pvalue, abs=1e-9)
    oracle = ttest_rel(first, second)
    ends = oracle.confidence_interval()
    assert pair["difference_p"] == pytest.approx(oracle.pvalue, abs=1e-9)
    assert (pair["difference_low"], pair["difference_high"]) == pytest.approx(tuple(ends), abs=1e-9)
    assert "strength" not in result["results"][0]


def test_runs_are_paired_in_any_order_and_what_is_alone_is_named(write: Write) -> None:
    scores = drawn(6, 0)
    first, second = rows("a", scores), rows("b", [score + 1 for score in scores])
    second.reverse()
    files = write("a.json", first[:-1]), write("b.json", second[1:] + rows("b", [9.0], ["another"]))
    run = unisim("compare", *files)
    assert run.status == 0
    assert "b: 1 without a counterpart in all others: 'another'." in run.err and "a: " not in run.err
    result = compared(*files)
    assert (result["prompts"], result["left_out"]) == (5, 1)
    assert result["unmatched"] == {"a": [], "b": ["another"]}
    assert result["pairs"][0]["difference"] == pytest.approx(1)


def test_many_that_are_alone_are_counted(write: Write) -> None:
    run = unisim("compare", write("a.json", rows("a", drawn(9, 0))), write("b.json", rows("b", [0.5])))
    assert (
        "a: 8 without a counterpart in all others: 'prompt 1', 'prompt 2'" in run.err
        and "and 3 more" in run.err
    )


def test_a_row_without_a_score_is_left_out_for_all(write: Write) -> None:
    for suffix in ("json", "csv"):
        files = write(f"a.{suffix}", rows("a", [0.1, None, 0.3])), write("b.json", rows("b", [0.2, 0.2, 0.2]))
        result = compared(*files)
        assert (result["prompts"], result["left_out"], result["unscored"]) == (2, 1, ["prompt 1"])
    run = unisim("compare", write("c.json", rows("a", [None])), write("b.json", rows("b", [0.2])))
    assert run.status == 2 and "for every pairing one of them has none" in run.err


def test_images_are_paired_by_the_ends_of_their_paths(write: Write) -> None:
    def images(folder: str, suffix: str) -> list[dict[str, Any]]:
        return [{"image": f"{folder}/{name}.{suffix}", "score": 0.5} for name in ("1", "2")]

    result = compared(write("a.json", images("out/a", "png")), write("b.json", images("b", "jpg")))
    assert (result["images"], result["paired_by"]) == (2, "name")
    # Of several seeds a folder each, the folder is a part of the name.
    seeds = [images("a/s0", "png") + images("a/s1", "png"), images("b/s1", "png") + images("b/s0", "png")]
    runs = [read_run(write(f"{name}.json", rows)) for name, rows in zip("cd", seeds, strict=True)]
    matched = match_runs(runs)
    assert matched.labels == ["s0/1", "s0/2", "s1/1", "s1/2"]
    assert [str(pair[1].pair.candidate) for pair in matched.entries] == [
        *("b/s0/1.png", "b/s0/2.png", "b/s1/1.png", "b/s1/2.png")
    ]


def test_prompts_with_several_images_are_paired_by_name_and_grouped(write: Write) -> None:
    texts = [f"prompt {number // 4}" for number in range(40)]
    files = write("a.json", rows("a", drawn(40, 0), texts)), write("b.json", rows("b", drawn(40, 1), texts))
    result = compared(*files)
    assert (result["paired_by"], result["images"], result["groups"]) == ("name", 40, 10)
    run = unisim("compare", *files, "--pair-by", "text")
    assert run.status == 2
    assert (
        "a.json: every row must have another text to be paired by it, but 10 are there several times: 'prompt 0' in"
        " result 1, result 2, result 3, result 4." in run.err
    )


def test_captions_are_paired_by_their_image(write: Write) -> None:
    def captions(word: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return [{"caption": f"{word} {n}", "reference": f"photos/{n}.png", "score": n / 10} for n in numbers]

    result = compared(write("a.json", captions("a", range(5))), write("b.csv", captions("b", [4, 2, 0])))
    assert (result["references"], result["paired_by"]) == (3, "reference")
    assert result["unmatched"] == {"a": ["1", "3"], "b": []}
    run = unisim("compare", write("c.json", captions("a", [1, 1])), write("d.json", captions("b", [1])))
    assert run.status == 2 and "c.json: every row must have another reference" in run.err


def test_rows_of_one_name_must_be_held_against_the_same_text(write: Write) -> None:
    files = (
        write("a.json", rows("a", [0.1, 0.2], ["x", "y"])),
        write("b.json", rows("b", [0.1, 0.2], ["y", "x"])),
    )
    assert compared(*files)["pairs"][0]["ties"] == 0  # paired by text
    run = unisim("compare", *files, "--pair-by", "name")
    assert run.status == 2
    assert "'0' is held against 'x' in" in run.err and "b.json, result 1." in run.err


def test_three_runs_have_strengths_and_corrected_p_values(write: Write) -> None:
    files = [write(f"{name}.json", rows(name, drawn(60, seed, seed / 2))) for seed, name in enumerate("abc")]
    result = compared(*files)
    assert [row["run"] for row in result["results"]] == ["c", "b", "a"]
    assert sum(row["strength"] for row in result["results"]) == pytest.approx(0, abs=1e-9)
    assert all(pair["p_holm"] >= pair["p"] for pair in result["pairs"])
    assert len(result["verdict"]) == 3


def test_runs_of_one_name_go_by_their_paths(write: Write, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write(f"{folder}/run.json", rows("a", [0.1, 0.2]))
    names = {row["run"] for row in compared(tmp_path / "x/run.json", tmp_path / "y/run.json")["results"]}
    assert names == {str(tmp_path / "x/run.json"), str(tmp_path / "y/run.json")}


def test_scores_that_were_made_otherwise_are_refused(write: Write) -> None:
    other = SIGNATURE.replace("tiny", "other")
    run = unisim(
        "compare",
        write("a.json", rows("a", [0.1])),
        write("b.json", rows("b", [0.1])),
        write("c.csv", rows("c", [0.1]), other),
    )
    assert run.status == 2
    assert (
        all(text in run.err for text in ("a.json have " + SIGNATURE, "c.csv " + other))
        and "b.json" not in run.err
    )


@pytest.mark.parametrize("signature", [None, "", " ", 5, ["x"]])
def test_scores_without_a_signature_are_refused(write: Write, signature: Any) -> None:
    run = unisim("compare", write("a.json", rows("a", [0.1]), signature), write("b.json", rows("b", [0.1])))
    assert run.status == 2 and "a.json: the scores have no signature" in run.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.md", "| image |", "must be a .json or .csv file of scores"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[" * 100_000, "is not JSON"),
        ("a.json", "[]", "a list of objects as 'results'"),
        ("a.json", '{"signature": "x", "results": [1]}', "a list of objects as 'results'"),
        ("a.json", '{"signature": "x", "results": []}', "no scores in it"),
        ("a.csv", "image,score,signature\n", "no scores in it"),
        ("a.csv", "image,score\na.png,0.5\n", "no signature"),
        (
            "a.csv",
            "image,score,signature\na.png,0.5,x\nb.png,0.5,y\n",
            "row 1 (line 2) has 'x' and row 2 (line 3) 'y'",
        ),
        (
            "a.csv",
            "image,score,signature\na.png,half,x\n",
            "row 1 (line 2) must hold a finite number as 'score'",
        ),
        ("a.json", '{"signature": "x", "results": [{"image": "a.png", "score": NaN}]}', "a finite number"),
        ("a.json", '{"signature": "x", "results": [{"image": "a.png", "score": true}]}', "a finite number"),
        ("a.json", '{"signature": "x", "results": [{"image": "a.png", "score": [1]}]}', "a finite number"),
        (
            "a.json",
            '{"signature": "x", "results": [{"image": 5, "score": 1}]}',
            "must hold a text as 'image'",
        ),
        (
            "a.json",
            '{"signature": "x", "results": [{"candidate": "a.png", "score": 1}]}',
            "must have an 'image'",
        ),
        ("a.json", '{"signature": "x", "results": [{"caption": "a", "score": 1}]}', "must have an 'image'"),
    ],
)
def test_files_that_are_no_scores_are_refused(
    write: Write, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    run = unisim("compare", tmp_path / name, write("b.json", rows("b", [0.1]), "x"))
    assert run.status == 2 and message in run.err and name in run.err


def test_runs_that_cannot_be_paired(write: Write, tmp_path: Path) -> None:
    one = write("a.json", rows("a", [0.1]))
    for arguments, message in (
        ([one], "At least two files"),
        ([one, tmp_path / "." / "a.json"], "is given 2 times"),
        ([one, write("b.json", [{"image": "q.png", "score": 0.1}])], "Runs must have a name in common"),
        ([one, write("c.json", rows("c", [0.1])), "--pair-by", "reference"], "result 1 has no reference"),
        (
            [one, write("d.json", [{"caption": "a", "reference": "b.png", "score": 0.1}])],
            "Runs must have images, or captions and references",
        ),
    ):
        run = unisim("compare", *arguments)
        assert run.status == 2 and message in run.err, run.err
    run = unisim("compare", one, tmp_path / "nowhere.json")
    assert run.status == 1 and "nowhere.json" in run.err


def test_hostile_texts_and_names_are_shown(write: Write) -> None:
    texts = ["\x1b[31m<b>[red]\u202e", "two"]
    files = (
        write("a\x1b[1m.json", rows("a", [0.1, 0.2], texts)),
        write("b.json", rows("b", [0.3, 0.1], [*texts[:1], "x"])),
    )
    run = unisim("compare", *files)
    assert run.status == 0 and "\x1b" not in run.out + run.err
    assert r"a\x1b[1m" in run.out


def test_pairing_is_by_an_option(write: Write) -> None:
    runs = [read_run(write(f"{name}.json", rows(name, [0.1, 0.2]))) for name in "ab"]
    assert [match_runs(runs, by).labels for by in (None, PairBy.TEXT, PairBy.NAME)] == [
        *(["prompt 0", "prompt 1"],) * 2,
        ["0", "1"],
    ]
    assert not any(math.isnan(entry.score or 0) for run in runs for entry in run.entries)
