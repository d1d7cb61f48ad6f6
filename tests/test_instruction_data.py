"""Triplets as conversations, LLaVA's files, and mixtures of both."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import pools_of

from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.models.generative.instructions import ask
from unisim_metrics.statistics.stream import Stream
from unisim_metrics.tasks import Task
from unisim_metrics.training.generative.dataset import Mixture
from unisim_metrics.training.generative.instructions import Instructions, Wording, put_into_words
from unisim_metrics.training.generative.llava_json import Record, Turn, read_records, write_records
from unisim_metrics.training.generative.templates import FREE_FORM, OPTIONS, TEMPLATES
from unisim_metrics.training.stream import TripletStream

ROOT = Path("root")
REFERENCE, FIRST, SECOND = (ROOT / f"{name}.png" for name in ("reference", "first", "second"))
SAMPLES: dict[Task, tuple[object, tuple[object, object]]] = {
    "image-image": (REFERENCE, (FIRST, SECOND)),
    "image-text": ("a red <image> {ball}", (FIRST, SECOND)),
    "caption": (REFERENCE, ("a dog {runs}", "two cats")),
    "quality": (None, (FIRST, SECOND)),
}
ORDINAL = {"first": 0, "second": 1}
LISTED = re.compile(r"\(?(?P<letter>[AB])[).:] (?P<option>(?:Image|Caption) \d)")


def chosen(record: Record, sample: Sample, task: Task) -> object:
    """What the answer of a conversation stands for, read from its text alone."""
    question, answer = record.turns[0].text, record.turns[1].text
    shown = [image for image in record.images if image != sample.reference]
    if answer in ("A", "B"):
        options = {found["letter"]: found["option"] for found in LISTED.finditer(question)}
        assert len(options) == 2 and len(set(options.values())) == 2
        kind, number = options[answer].split()
    else:
        spoken = re.search(r"(first|second) (image|caption)", answer)
        if spoken:
            if spoken[2] == "caption":
                return sample.alternatives[ORDINAL[spoken[1]]]
            return shown[ORDINAL[spoken[1]]]
        named = re.search(r"(image|caption) (\d)", answer, re.IGNORECASE)
        assert named, answer
        kind, number = named[1].capitalize(), named[2]
    return sample.alternatives[int(number) - 1] if kind == "Caption" else record.images[int(number) - 1]


@settings(max_examples=300, deadline=None)
@given(
    task=st.sampled_from(sorted(SAMPLES)),
    label=st.integers(0, 1),
    name=st.integers(0, 10**6),
    as_asked=st.sampled_from([0.0, 0.5, 1.0]),
    free_form=st.sampled_from([0.0, 0.5, 1.0]),
    swap=st.sampled_from([0.0, 0.5, 1.0]),
    vary=st.booleans(),
)
def test_answer_names_the_right_alternative(
    task: Task, label: int, name: int, as_asked: float, free_form: float, swap: float, vary: bool
) -> None:
    sample = Sample(*SAMPLES[task], label)  # type: ignore[arg-type]
    wording = Wording(as_asked, free_form, swap, vary)
    record = put_into_words(sample, task, Stream("test", name), wording, "x")
    assert chosen(record, sample, task) == sample.alternatives[label]
    assert (
        record.turns[0].text.count("<image>")
        == len(record.images)
        == {"caption": 1, "image-image": 3}.get(task, 2)
    )
    assert record == put_into_words(sample, task, Stream("test", name), wording, "x")
    if free_form == 0 or as_asked == 1:
        assert record.turns[1].text in ("A", "B")
    if task == "image-image" and not vary:
        assert record.images[0] == REFERENCE
    texts = [item for item in (sample.reference, *sample.alternatives) if isinstance(item, str)]
    for text in texts:
        assert text.replace("<image>", "image") in record.turns[0].text


def test_words_as_asked_are_those_of_the_model() -> None:
    sample = Sample(None, (FIRST, SECOND), 1)
    record = put_into_words(sample, "quality", Stream("x"), Wording(as_asked=1.0), "x")
    parts = ask("quality", None, (FIRST, SECOND)).parts
    assert record.turns[0].text == "".join(part if isinstance(part, str) else "<image>" for part in parts)
    assert record.turns[1].text == "B"


def test_every_task_has_many_wordings_and_all_come() -> None:
    wording = Wording(as_asked=0.0, free_form=0.5)
    for task, templates in TEMPLATES.items():
        assert len(set(templates.questions)) >= 10 and len(set(templates.answers)) >= 5
        sample = Sample(*SAMPLES[task], 0)  # type: ignore[arg-type]
        records = [put_into_words(sample, task, Stream("all", place), wording, "x") for place in range(800)]
        questions = {re.split(r"\n?\(?A[).:] ", record.turns[0].text)[0] for record in records}
        assert len(questions) >= len(templates.questions) * 3
        assert len({record.turns[1].text for record in records}) >= len(templates.answers)
        letters = Counter(record.turns[1].text for record in records if len(record.turns[1].text) == 1)
        assert 0.4 < letters["A"] / sum(letters.values()) < 0.6  # swapped by chance
    places = Counter(
        put_into_words(
            Sample(REFERENCE, (FIRST, SECOND), 0), "image-image", Stream("place", place), wording, "x"
        ).images.index(REFERENCE)
        for place in range(600)
    )
    assert sorted(places) == [0, 1, 2] and min(places.values()) > 150
    assert len(OPTIONS) > 3 and len(FREE_FORM) > 1


def test_instructions_draw_each_triplet_once_before_any_again() -> None:
    pools = pools_of([ROOT / f"{index}.png" for index in range(10)])
    stream = TripletStream(pools, 1, seed=3)
    records = Instructions(stream, "image-image", 21, seed=3)
    assert len(records) == 21 and list(records) == [records[index] for index in range(21)]
    assert {record.metadata["dataset"] for record in records} == {"images"}
    triplets = [frozenset(record.images) for record in records]
    assert Counter(triplets[:7]) == Counter(triplets[7:14])
    again = Instructions(TripletStream(pools, 1, seed=3), "image-image", 21, seed=3)
    assert list(again) == list(records) != list(Instructions(stream, "image-image", 21, seed=4))
    with pytest.raises(IndexError):
        records[21]
    with pytest.raises(ValueError, match="Argument `task` must be one of"):
        Instructions(stream, "odd-one-out", 1)
    with pytest.raises(ValueError, match=r"wording.swap must be between 0 and 1, but got 2"):
        Wording(swap=2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(min_size=1).map(lambda text: f"x{text}".replace("<image>", "")), min_size=1, max_size=5)
)
def test_records_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    root = tmp_path_factory.mktemp("records")
    records = [
        Record(
            f"r{place}",
            (root / "a" / "1.png", root / "2.png")[: place % 3],
            (Turn("user", "<image>" * min(place % 3, 2) + text), Turn("assistant", text)),
            {"dataset": "set", "task": "quality"} if place % 2 else {},
        )
        for place, text in enumerate(texts)
    ]
    assert write_records(root / "data.json", iter(records), root) == len(records)
    assert read_records(root / "data.json") == records
    content = json.loads((root / "data.json").read_text(encoding="utf-8"))
    assert [entry["conversations"][0]["from"] for entry in content] == ["human"] * len(records)


def test_foreign_files_are_read(tmp_path: Path) -> None:
    """The multi-image part of a file in the words of M4-Instruct, and of others."""
    turns = [{"from": "human", "value": "<image>\n<image>?"}, {"from": "gpt", "value": "yes"}]
    more = [{"from": "user", "value": "And?"}, {"from": "assistant", "value": "no"}]
    entries = [
        {"sample_id": 7, "image": ["a/1.png", "2.png"], "conversations": turns + more, "choice_list": None},
        {"id": "one", "image": "1.png", "conversations": [{"from": "human", "value": "<image>"}, turns[1]]},
        {"conversations": [{"from": "human", "value": "text"}, turns[1]]},
    ]
    (tmp_path / "m4.json").write_text(json.dumps(entries))
    (tmp_path / "m4.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    every = read_records(tmp_path / "m4.json", tmp_path / "images")
    assert every == [
        Record(record.id.replace("m4-2", "m4-2"), record.images, record.turns)
        for record in read_records(tmp_path / "m4.jsonl", tmp_path / "images")
    ]
    assert [record.id for record in every] == ["7", "one", "m4-2"]
    assert every[0].images == (tmp_path / "images" / "a" / "1.png", tmp_path / "images" / "2.png")
    assert [turn.role for turn in every[0].turns] == ["user", "assistant"] * 2
    assert [record.id for record in read_records(tmp_path / "m4.json", min_images=2)] == ["7"]


HUMAN, GPT = {"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "yes"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"conversations": [HUMAN, GPT]}, "as many <image> as images, but there are 1 and 0"),
        ({"image": ["a", "b"], "conversations": [HUMAN, GPT]}, "there are 1 and 2"),
        ({"image": "a", "conversations": [HUMAN]}, "must alternate"),
        ({"image": "a", "conversations": [GPT, HUMAN]}, "must alternate"),
        ({"image": "a", "conversations": [HUMAN, GPT, GPT]}, "must alternate"),
        ({"image": "a", "conversations": []}, "must alternate"),
        ({"image": "a", "conversations": [HUMAN, {"from": "gpt", "value": " "}]}, "turn 1 is empty"),
        (
            {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "<image>"}]},
            "turn 1 does",
        ),
        ({"image": "a", "conversations": [HUMAN, {"from": "bot", "value": "x"}]}, "`from` must be one of"),
        ({"image": "a", "conversations": [HUMAN, {"from": "gpt"}]}, "`from` and `value`"),
        ({"image": "a", "conversations": "x"}, "`conversations` must be a list"),
        ({"image": [1], "conversations": [HUMAN, GPT]}, "`image` must be a file's name"),
        ([], "must be an object"),
    ],
)
def test_malformed_records_are_named(tmp_path: Path, entry: object, reason: str) -> None:
    file = tmp_path / "data.json"
    good = {"id": "good", "image": "a", "conversations": [HUMAN, GPT]}
    named = entry | {"id": "bad"} if isinstance(entry, dict) else entry
    file.write_text(json.dumps([good, named]))
    with pytest.raises(ValueError, match=re.escape(reason)) as error:
        read_records(file)
    assert "Record 1" in str(error.value) and str(file) in str(error.value)
    assert not isinstance(entry, dict) or "'bad'" in str(error.value)


@pytest.mark.parametrize(("text", "reason"), [("{", "not valid JSON"), ("{}", "must hold a list of records")])
def test_malformed_files_are_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_records(tmp_path / "data.json")


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    record = Record("r", (Path("elsewhere/a.png"),), (Turn("user", "<image>"), Turn("assistant", "x")))
    with pytest.raises(ValueError, match="elsewhere"):
        write_records(tmp_path / "data.json", [record], tmp_path)
    assert list(tmp_path.iterdir()) == []


def named(name: str, count: int) -> list[Record]:
    return [
        Record(f"{name}{index}", (), (Turn("user", "?"), Turn("assistant", "!"))) for index in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)), min_size=1, max_size=4), st.integers(0, 5))
def test_mixture_holds_its_shares_all_along(sizes: list[tuple[int, int]], seed: int) -> None:
    sources = {f"{place}/": named(f"{place}/", size) for place, (size, _) in enumerate(sizes)}
    counts = {f"{place}/": count for place, (_, count) in enumerate(sizes)}
    mixture = Mixture(sources, counts, seed)
    records = list(mixture)
    total = sum(counts.values())
    assert len(mixture) == len(records) == total
    assert [record.id.partition("/")[0] + "/" for record in records] == [
        mixture.origin(i) for i in range(total)
    ]
    for name, count in counts.items():
        seen = Counter(record.id for record in records if record.id.startswith(name))
        assert seen.total() == count
        # Each record as often as any other, up to one time.
        assert count == 0 or max(seen.values()) - min(seen.get(r.id, 0) for r in sources[name]) <= 1
        so_far = 0
        for place, record in enumerate(records, start=1):
            so_far += record.id.startswith(name)
            assert abs(so_far - count * place / total) <= len(counts) + 1
    assert records == list(Mixture(sources, counts, seed))


def test_mixture_refuses_what_it_cannot_give() -> None:
    with pytest.raises(ValueError, match=r"differ in \['b'\]"):
        Mixture({"a": named("a", 1)}, {"a": 1, "b": 1})
    with pytest.raises(ValueError, match="Source 'a' must give"):
        Mixture({"a": []}, {"a": 1})
    with pytest.raises(ValueError, match="Source 'a' must give"):
        Mixture({"a": named("a", 1)}, {"a": -1})
    with pytest.raises(IndexError):
        Mixture({"a": named("a", 1)}, {"a": 1})[1]
