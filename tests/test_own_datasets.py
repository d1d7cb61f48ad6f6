"""Sets of one's own: files of samples, classes that are registered, and entry points."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from set_oracles import plain

from unisim_metrics.benchmark import (
    AnnotationError,
    PooledDataset,
    Sample,
    list_datasets,
    load_dataset,
    register,
)
from unisim_metrics.benchmark.datasets import registry
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.samples import Candidate
from unisim_metrics.installation import install_extra

LINE = {
    "task": "image-text",
    "reference": {"text": "a red ball"},
    "alternatives": [{"image": "a.png"}, {"image": "b/c.png"}],
    "label": 1,
}


def write_lines(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n", encoding="utf-8")
    return path


def test_own_samples_from_a_file(tmp_path: Path) -> None:
    lines = [{**LINE, "reference": {"text": f"text {index}"}} for index in range(7)]
    path = write_lines(tmp_path / "mine.jsonl", [*lines, {**LINE, "split": "train"}])
    for given_as in (path, str(path)):
        dataset = load_dataset(given_as, tmp_path)
        assert (dataset.id, dataset.task, dataset.size, dataset.train_size) == ("mine", "image-text", 7, 1)
        assert [plain(sample, tmp_path) for sample in dataset.samples()] == [
            (f"text {index}", "b/c.png", frozenset({"a.png"})) for index in range(7)
        ]
        assert {sample.label for sample in dataset.samples()} == {0, 1}
        assert len(dataset.samples(n=3)) == 3
        assert plain(dataset.samples("train")[0], tmp_path)[0] == "a red ball"
        assert dataset.status().state == "present"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "at least one sample"),
        ([LINE, 7], "line 2: expected a record"),
        ([{**LINE, "task": "guess"}], "line 1: .*'task' to be one of"),
        ([LINE, {**LINE, "task": "quality"}], "line 2: .*'image-text', as in the lines before"),
        ([{**LINE, "label": 2}], r"line 1: .*'label' to be one of \[0, 1\], but got 2"),
        ([{**LINE, "label": 0.5}], "'label'"),
        ([{**LINE, "reference": None}], "line 1: .*'reference' to be a record"),
        ([{**LINE, "task": "quality"}], "'reference' to be null"),
        ([{**LINE, "reference": {"image": "a.png"}}], "a field 'text'"),
        ([{**LINE, "alternatives": [{"image": "a.png"}]}], "a list of at least 2 records"),
        (
            [{**LINE, "alternatives": [{"image": "a.png"}, {"text": "b"}]}],
            "alternative 1: expected a field 'image'",
        ),
        (
            [{**LINE, "alternatives": [{"image": "/a.png"}, {"image": "b"}]}],
            "a relative path inside the data root",
        ),
        ([{**LINE, "split": "dev"}], "'split' to be 'test' or 'train'"),
        ([{**LINE, "task": "odd-one-out", "reference": None}], "a list of at least 3 records"),
    ],
)
def test_own_samples_are_checked(tmp_path: Path, lines: list[Any], message: str) -> None:
    path = write_lines(tmp_path / "mine.jsonl", lines)
    with pytest.raises(AnnotationError, match=message) as raised:
        load_dataset(path, tmp_path)
    assert str(path) in str(raised.value)


def test_own_samples_from_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    lines = [{**LINE, "reference": {"text": f"text {index}"}, "split": "train"} for index in range(7)]
    rating = {"task": "quality", "reference": None, "alternatives": [{"image": "a.png"}, {"image": "b.png"}]}
    for name, records in {"mine": lines, "ratings": [{**rating, "label": 0}] * 2}.items():
        write_lines(tmp_path / f"{name}.jsonl", records)
        # Small groups, so that a file has several.
        table = pyarrow.Table.from_pylist(records)
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
    for name, split in (("mine", "train"), ("ratings", "test")):
        ours, theirs = (load_dataset(f"{tmp_path}/{name}.{kind}", tmp_path) for kind in ("parquet", "jsonl"))
        assert (ours.id, ours.task, ours.train_size) == (theirs.id, theirs.task, theirs.train_size)
        assert ours.samples(split) == theirs.samples(split)  # type: ignore[arg-type]


def test_own_parquet_is_checked(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "mine.parquet"
    records = [LINE, {**LINE, "label": 2}]
    parquet.write_table(pyarrow.Table.from_pylist(records), path)
    with pytest.raises(AnnotationError, match=r"record 2: .*'label' to be one of \[0, 1\], but got 2"):
        load_dataset(path, tmp_path)
    parquet.write_table(pyarrow.Table.from_pylist([{"task": "quality", "label": 0}]), path)
    with pytest.raises(AnnotationError, match=r"the columns \['reference', 'alternatives'\], but got"):
        load_dataset(path, tmp_path)
    content = path.read_bytes()
    for damaged in (b"no parquet", content[:-20], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(AnnotationError, match="expected Parquet"):
            load_dataset(path, tmp_path)
    with pytest.raises(FileNotFoundError):
        load_dataset(tmp_path / "none.parquet", tmp_path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['pyarrow'] = None\nfrom unisim_metrics.benchmark import load_dataset\n"
        "load_dataset('mine.parquet', '.')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "ModuleNotFoundError: Reading mine.parquet needs pyarrow" in done.stderr
    assert install_extra("benchmark") in done.stderr


def test_own_samples_are_written_as_they_are_read(tmp_path: Path) -> None:
    images = [tmp_path / "images" / f"{index}.png" for index in range(3)]
    for task, reference, alternatives in (
        ("image-image", images[0], (images[1], images[2])),
        ("caption", images[0], ("“quoted”", "b\nc")),
        ("quality", None, (images[1], images[2])),
    ):
        samples = [Sample(reference, alternatives, label) for label in (0, 1, 1)]
        path = tmp_path / f"{task}.jsonl"
        write_json_lines(path, samples, task, tmp_path, "train")  # type: ignore[arg-type]
        read = load_dataset(path, tmp_path).samples("train")
        assert [plain(sample, tmp_path) for sample in read] == [plain(sample, tmp_path) for sample in samples]
    with pytest.raises(ValueError, match="images"):
        write_json_lines(tmp_path / "x.jsonl", samples, "quality", tmp_path / "elsewhere")


class Twins(PooledDataset):
    id = "twins"
    task = "image-image"
    size = 1
    files = {"test": ()}  # noqa: RUF012
    images = {"test": ()}  # noqa: RUF012
    citation = "none"
    url = "https://example.org"

    def pool(self, split: Any) -> list[Candidate]:
        return [(self.root / "a.png", (self.root / "b.png", self.root / "c.png"))]


def test_own_class_by_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_DATASETS", dict(registry._DATASETS))
    assert register(Twins) is Twins
    assert list_datasets()[-1] == "twins"
    assert len(load_dataset("twins", tmp_path).samples()) == 1

    class Impostor(Twins):
        id = "nights"

    with pytest.raises(ValueError, match="'nights' is taken"):
        register(Impostor)


def test_own_class_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "Impostor", Twins, raising=False)
    points = [
        EntryPoint("twins", f"{__name__}:Twins", registry.GROUP),
        EntryPoint("nights", f"{__name__}:Impostor", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])
    assert list_datasets()[-1] == "twins"
    assert isinstance(load_dataset("twins", tmp_path), Twins)
    assert not isinstance(load_dataset("nights", tmp_path), Twins)
