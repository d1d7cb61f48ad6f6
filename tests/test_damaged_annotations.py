"""Annotation files of the benchmark's sets that are damaged: the error names file, line and what was expected."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_data import (
    write_benchmark,
    write_json,
    write_revisitop,
)

from unisim_metrics.benchmark import (
    AnnotationError,
    load_dataset,
)
from unisim_metrics.benchmark.datasets import RetrievalDataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"))


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def edit(pattern: str, replacement: str, count: int = 1) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        changed = re.sub(pattern, replacement, text, count=count, flags=re.MULTILINE)
        assert changed != text
        path.write_text(changed, encoding="utf-8")

    return apply


def put(content: Any) -> Callable[[Path], None]:
    return lambda path: write_json(path, content)


HQ_RECORD = {"image": ["a.png", "b.png"], "input": "x", "output": "y", "metadata": {"dataset": "HQ-Edit"}}
MB_RECORD = {"image": ["M/i/a.png", "M/i/b.png"], "metadata": {"dataset": "MagicBrush"}}
HPD_RECORD = {"prompt": "x", "image_path": ["a.jpg", "b.jpg"]}


@pytest.mark.parametrize(
    ("name", "file", "damage", "message"),
    [
        (
            "nights",
            "nights/data.csv",
            edit("right_vote", "vote"),
            r"line 1: expected the columns \['right_vote'\]",
        ),
        ("nights", "nights/data.csv", edit(r"^2,\d,", "2,"), "line 4: expected 10 values"),
        (
            "nights",
            "nights/data.csv",
            edit(r"^2,\d,\d,\d", "2,0,3,8"),
            r"line 4: .*'right_vote' to be one of \[0, 1\].*'3'",
        ),
        (
            "nights",
            "nights/data.csv",
            edit(r"^2,(\d),(\d),\d", r"2,\1,\2,many"),
            "line 4: .*'votes' to be a number.*'many'",
        ),
        (
            "nights",
            "nights/data.csv",
            edit(r"^2,.*?,ref", "2,0,1,8,../ref"),
            "'ref_path' to be a relative path inside",
        ),
        ("nights", "nights/data.csv", lambda path: path.write_bytes(b"split,\xff\xfe"), "CSV in UTF-8"),
        ("bapps", "bapps/val/cnn/judge/000000.npy", lambda path: np.save(path, [1.5]), "from 0 to 1"),
        (
            "bapps",
            "bapps/val/cnn/judge/000000.npy",
            lambda path: path.write_bytes(b"x"),
            "an array of one number",
        ),
        (
            "pieapp-2afc",
            "pie_app/labels/test/ref_7_pairwise_labels.csv",
            edit("image B", "image C"),
            "'distorted image B'",
        ),
        ("hpdv2", "hpdv2/test.json", edit(r"\]$", ""), "line 1: expected JSON in UTF-8"),
        ("hpdv2", "hpdv2/test.json", put({"a": 1}), "a list of records"),
        ("hpdv2", "hpdv2/test.json", put([HPD_RECORD]), r"record 1: expected a field 'human_preference'"),
        ("hpdv2", "hpdv2/test.json", put([{**HPD_RECORD, "rank": [1]}]), "record 1: .*a list of 2 numbers"),
        ("hpdv2", "hpdv2/test.json", put([{**HPD_RECORD, "human_preference": [2, 0]}]), "a list of 0 and 1"),
        ("hpdv2", "hpdv2/test.json", put([3]), "record 1: expected a record, but got 3"),
        ("magicbrush", "MagicBrush/test.json", put([MB_RECORD]), "a field 'conversations'"),
        (
            "magicbrush",
            "MagicBrush/test.json",
            put([{**MB_RECORD, "image": ["a", "b"]}]),
            "MagicBrush/<folder>/<file>",
        ),
        (
            "magicbrush",
            "MagicBrush/test.json",
            put([{**MB_RECORD, "conversations": [{}]}]),
            "the second with the instruction",
        ),
        (
            "hq-edit-images",
            "HQ-Edit/test.json",
            put([{**HQ_RECORD, "image": ["a"]}]),
            "a list of two image paths",
        ),
        (
            "hq-edit-captions",
            "HQ-Edit/test.json",
            put([{**HQ_RECORD, "input": " "}]),
            "'input' to be a text that is not empty",
        ),
        (
            "hq-edit-captions",
            "HQ-Edit/test.json",
            put([{**HQ_RECORD, "metadata": 1}]),
            "'metadata' to be a record",
        ),
        (
            "polaris",
            "polaris/polaris_test.csv",
            edit(r'"\[', '"__import__(""os"")[', 0),
            "'references' to be a Python list",
        ),
        ("polaris", "polaris/polaris_test.csv", edit(",human_score", ""), None),
        (
            "kadid-10k",
            "kadid10k/dmos.csv",
            edit("I01_01_01.png", "picture.png"),
            "I<reference>_<type>_<level>.png",
        ),
        ("koniq-10k", "koniq10k/koniq10k_distributions_sets.csv", edit("MOS", "mos"), r"\['MOS'\]"),
        (
            "koniq-contrast",
            "koniq10k/koniq10k_indicators.csv",
            edit("^502,.*\n", ""),
            r"the test photo '502\.jpg'",
        ),
        (
            "agiqa-3k-quality",
            "agiqa-3k/data.csv",
            edit(r",[\d.]+,0.5,[\d.]+,0.5$", ",,0.5,1,0.5"),
            "'mos_quality' to be a number",
        ),
        (
            "cd-coco",
            "coco-triplets/resources/all_captions_extended.csv",
            edit("^COCO.*\n", "", 0),
            "'Image_URL' to be an image",
        ),
        ("pipal", "PIPAL/val_label.txt", edit(r"^A0005\S*", "A0005.bmp,1500"), "<photo>_<type>_<number>.bmp"),
        ("pipal", "PIPAL/val_label.txt", edit(",", ";"), "line 1: expected 2 values"),
        (
            "cifar-100-ooo",
            "cifar-100-python/test",
            lambda path: path.write_bytes(pickle.dumps({b"data": Malicious()})),
            "builtins.print has no place",
        ),
        (
            "cifar-100-ooo",
            "cifar-100-python/test",
            lambda path: path.write_bytes(pickle.dumps({})),
            "b'coarse_labels'",
        ),
        (
            "cifar-100-ooo",
            "cifar-100-python/test",
            lambda path: path.write_bytes(pickle.dumps({b"data": [[0] * 3072], b"coarse_labels": [0]})),
            "one coarse label from 0 to 19",
        ),
        (
            "imagenet-ooo",
            "imagenet/val",
            lambda path: shutil.rmtree(path / "n00010001"),
            "1000 folders of classes, but got 999",
        ),
    ],
)
def test_damaged_annotations_are_named(
    root: Path, tmp_path: Path, name: str, file: str, damage: Callable[[Path], Any], message: str | None
) -> None:
    source = root / file
    part = source.relative_to(root).parts[0]
    shutil.copytree(root / part, tmp_path / part, copy_function=os.link)
    path = tmp_path / file
    if path.is_file():
        # The copy is a link: the damage must not reach the original.
        path.unlink()
        shutil.copy(source, path)
    damage(path)
    dataset = load_dataset(name, tmp_path)
    if message is None:
        assert dataset.samples()
        return
    with pytest.raises(AnnotationError, match=message) as raised:
        dataset.samples()
    assert str(tmp_path / part) in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gnd": Malicious()}, "builtins.print has no place"),
        (
            {"imlist": ["a"], "qimlist": ["b"], "gnd": [{"easy": [1], "hard": [], "junk": []}]},
            "outside the 1 images",
        ),
        (
            {"imlist": ["a"], "qimlist": ["b", "c"], "gnd": [{"easy": [0], "hard": [], "junk": []}]},
            "2 queries with 1",
        ),
        ({"imlist": ["a"], "qimlist": ["../b"], "gnd": []}, r"the image name '\.\./b'"),
        ({"imlist": ["a"]}, "'qimlist'"),
    ],
)
def test_damaged_ground_truth_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    write_revisitop(tmp_path)
    path = tmp_path / "retrieval/revisitop/roxford5k/gnd_roxford5k.pkl"
    path.write_bytes(pickle.dumps(content))
    dataset = load_dataset("roxford", tmp_path)
    assert isinstance(dataset, RetrievalDataset)
    with pytest.raises(AnnotationError, match=message):
        dataset.retrieval()
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(AnnotationError, match=r"gnd_roxford5k\.pkl"):
        dataset.retrieval()


def test_nothing_to_draw_is_an_error(tmp_path: Path) -> None:
    write_json(tmp_path / "hpdv2/test.json", [])
    with pytest.raises(ValueError, match="'hpdv2' has no test sample"):
        load_dataset("hpdv2", tmp_path).samples()
