"""People's own text files in the benchmark and in training: their encodings, their line ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unisim_metrics.benchmark.datasets import AnnotationError
from unisim_metrics.benchmark.datasets.own import OwnSamples
from unisim_metrics.training.generative.llava_json import read_records
from unisim_metrics.training.recipe import read_table

SAMPLE = {
    "task": "caption",
    "reference": {"image": "a.png"},
    "alternatives": [{"text": "one"}, {"text": "two"}],
    "label": 0,
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(SAMPLE).replace("two", r"\ud83d"), "no half of a surrogate pair"),
        (json.dumps(SAMPLE).replace('"label": 0', '"label": ' + "9" * 5_000), "expected JSON in UTF-8"),
        ("[" * 100_000, "expected JSON in UTF-8"),
    ],
)
def test_own_samples_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{json.dumps(SAMPLE)}\n{text}\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=f"line 2.*{message}"):
        OwnSamples(path, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_recipes_come_in_the_encodings_of_editors(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes('name = "café"\r\n'.encode(encoding))
    assert read_table(path)["name"] == "café"


def test_a_recipe_in_another_encoding_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes('seed = 1\nname = "café"\n'.encode("cp1252"))
    with pytest.raises(ValueError, match=r"mine\.toml: line 2 is not UTF-8"):
        read_table(path)


def test_dialogues_may_hold_any_separator(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\na\u2028b\u0085c"}, {"from": "gpt", "value": "d"}]
    path = tmp_path / "mine.jsonl"
    path.write_text(
        json.dumps({"image": "a.png", "conversations": turns}, ensure_ascii=False), encoding="utf-8"
    )
    [record] = read_records(path, tmp_path)
    assert any("a\u2028b\u0085c" in turn.text for turn in record.turns)
