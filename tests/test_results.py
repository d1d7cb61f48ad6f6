"""Result files: what is written is read, later versions are readable, broken files are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pydantic")

from unisim_metrics.benchmark import summarize
from unisim_metrics.benchmark.results.files import (
    UNANSWERED,
    Environment,
    ModelMeta,
    Outcome,
    RunRecord,
    SetResult,
    read_meta,
    read_result,
    read_results,
    result_folder,
    write_meta,
    write_result,
)

ENVIRONMENT = Environment(python="3.11", platform="test", device="cpu", packages={"torch": "2"})
RUN = RunRecord(
    finished="2026-01-01T00:00:00+00:00", seconds=1.0, images_encoded=2, texts_encoded=3, peak_memory_bytes=4
)


def result(choices: Any, **fields: Any) -> SetResult:
    outcome = Outcome(signature="s", figure=0.5, low=0.4, high=0.6, choices=np.array(choices, dtype=np.uint8))
    made = {
        "dataset": "nights",
        "task": "image-image",
        "n": len(choices),
        "samples_hash": "0" * 64,
        "labels": np.zeros(len(choices), dtype=np.uint8),
        "outcomes": (outcome,),
        "environment": ENVIRONMENT,
        "run": RUN,
    }
    return SetResult(**{**made, **fields})


@given(st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_choices_survive(choices: list[int]) -> None:
    read = SetResult.model_validate_json(result(choices).model_dump_json())
    assert read.outcomes[0].choices is not None
    assert read.outcomes[0].choices.dtype == np.uint8
    assert read.outcomes[0].choices.tolist() == choices


def test_files(tmp_path: Path) -> None:
    meta = ModelMeta(
        name="org/model", weights_hash="ab" * 32, input_tag="i", parameters=5, library_version="0"
    )
    folder = result_folder(tmp_path, meta.name, meta.weights_hash)
    assert folder == tmp_path / "org__model" / "abababababab"
    write_meta(folder, meta)
    path = write_result(folder, result([0, 1, UNANSWERED]))
    assert sorted(file.name for file in folder.iterdir()) == ["model_meta.json", "nights.json"]
    assert read_meta(folder) == meta
    ((read, results),) = read_results(tmp_path)
    assert read == meta
    assert results["nights"].model_dump_json() == read_result(path).model_dump_json()
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_average_precision_survives_with_its_gaps() -> None:
    values = {"medium": np.array([0.1, np.nan]), "hard": np.array([1 / 3, 0.0])}
    outcome = Outcome(signature="s", figure=0.2, low=0.1, high=0.3, average_precision=values)
    read = SetResult.model_validate_json(
        result([0, 0], labels=None, outcomes=(outcome,)).model_dump_json()
    ).outcomes[0]
    assert read.choices is None
    assert read.average_precision is not None
    for protocol, expected in values.items():
        np.testing.assert_array_equal(read.average_precision[protocol], expected)  # type: ignore[index]


def test_result_of_an_earlier_version_is_of_independent_samples(tmp_path: Path) -> None:
    groups = np.array([0, 0, 0, 1, 1, 1, 2, 2], dtype=np.uint32)
    grouped = result([0, 0, 0, 1, 1, 1, 0, 1], clusters=(groups,))
    path = write_result(tmp_path, grouped)
    kept = read_result(path)
    assert kept.clusters is not None
    assert [labels.tolist() for labels in kept.clusters] == [groups.tolist()]
    assert not kept.shared.is_independent
    content = json.loads(path.read_text())
    del content["clusters"]
    path.write_text(json.dumps(content))
    older = read_result(path)
    assert older.clusters is None
    assert older.shared.is_independent
    independent, wider = (
        summarize({"nights": each}).datasets["nights"]
        for each in (grouped.model_copy(update={"clusters": ()}), kept)
    )
    assert summarize({"nights": older}).datasets["nights"] == independent
    assert wider.value == independent.value
    assert wider.high - wider.low > independent.high - independent.low


def test_labels_that_no_run_writes_are_refused(tmp_path: Path) -> None:
    columns = np.array([[1, 2], [2, 3], [3, 3]], dtype=np.uint32).T
    path = write_result(tmp_path, result([0, 1], clusters=tuple(columns[:, :2])))
    assert read_result(path).shared.ways == 2
    with pytest.raises(ValueError, match="clusters that give no sample a label twice were expected"):
        result([0, 0, 1], clusters=tuple(columns))
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        result([])


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    path = write_result(tmp_path, result([1]))
    content = json.loads(path.read_text())
    content["schema_version"] = 7
    content["new"] = {"a": 1}
    content["outcomes"][0]["newer"] = [2]
    path.write_text(json.dumps(content))
    assert read_result(path).schema_version == 7


def test_demonstrations_have_a_folder_of_their_own(tmp_path: Path) -> None:
    hashed, made = "ab" * 32, []
    for number in (0, 2):
        folder = result_folder(tmp_path, "org/a", hashed, number)
        meta = ModelMeta(
            name="org/a",
            weights_hash=hashed,
            input_tag="i",
            parameters=1,
            library_version="0",
            demonstrations=number,
        )
        write_meta(folder, meta)
        write_result(folder, result([0, 1, number], demonstrations=number))
        made.append(folder)
    assert [folder.name for folder in made] == ["abababababab", "abababababab-demonstrations-2"]
    found = list(read_results(tmp_path))
    assert [(meta.demonstrations, sets["nights"].demonstrations) for meta, sets in found] == [(0, 0), (2, 2)]
    # Whoever puts a file into the other folder is told.
    write_result(made[0], result([0, 1, 1], demonstrations=2))
    with pytest.raises(
        ValueError, match=r"nights\.json is no SetResult: demonstrations: 0 were expected, got 2"
    ):
        list(read_results(tmp_path))


def test_earlier_results_after_demonstrations_load(tmp_path: Path) -> None:
    """They lie in the folder of the revision, and what describes the model does not tell."""
    folder = result_folder(tmp_path, "a", "0" * 64)
    meta = ModelMeta(
        name="a", weights_hash="0" * 64, input_tag="i", parameters=1, library_version="0", demonstrations=0
    )
    path = write_meta(folder, meta)
    content = json.loads(path.read_text())
    del content["demonstrations"]
    path.write_text(json.dumps(content))
    write_result(folder, result([0, 1], demonstrations=1))
    ((read, sets),) = read_results(tmp_path)
    assert read.demonstrations is None
    assert sets["nights"].demonstrations == 1
    assert summarize(sets).datasets["nights"].value == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("samples_hash"), "samples_hash: Field required"),
        (lambda content: content.update(n=5), r"whole file: .*labels of 5 samples were expected, got 2"),
        (
            lambda content: content["outcomes"][0].update(choices="uint8:!"),
            "outcomes.0.choices: .*packed array",
        ),
        (lambda content: content["outcomes"][0].update(choices="object:00"), "outcomes.0.choices: .*packed"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, change: Any, message: str) -> None:
    path = write_result(tmp_path, result([0, 1]))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"nights.json is no SetResult: {message}"):
        read_result(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"nights.json is no SetResult: whole file"):
        read_result(path)


def test_a_write_that_fails_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_result(tmp_path, result([0, 1]))
    before = path.read_bytes()

    def full(*names: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_result(tmp_path, result([1, 1]))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
