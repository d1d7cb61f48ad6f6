"""A check on the sets' real annotation files: `UNISIM_BENCH_ROOT=DATA pytest tests/test_real_annotations.py`.

Images that are not there are stood in for by generated ones, in a temporary copy.
"""

from __future__ import annotations

import csv
import os
import pickle
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_benchmark_sets import average_precision

from unisim_metrics.benchmark import load_dataset
from unisim_metrics.benchmark.running.runner import run
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.functional import revisited_average_precision
from unisim_metrics.models import EncoderModel

ROOT = Path(os.environ.get("UNISIM_BENCH_ROOT", "no data root"))


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if not (ROOT / name).exists()]
    return pytest.mark.skipif(
        bool(missing), reason=f"UNISIM_BENCH_ROOT names no data root with {', '.join(missing)}"
    )


def table(name: str) -> list[dict[str, str]]:
    with open(ROOT / name, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def names(sample: Sample) -> list[str]:
    """The names of the images, the right one first."""
    found = [item.name for item in sample.alternatives if isinstance(item, Path)]
    found.insert(0, found.pop(sample.label))
    return found


@needs("koniq10k/koniq10k_distributions_sets.csv")
def test_koniq_draws_distinct_pairs_of_the_test_photos() -> None:
    scores = {
        row["image_name"]: float(row["MOS"])
        for row in table("koniq10k/koniq10k_distributions_sets.csv")
        if row["set"] == "test"
    }
    assert len(scores) == 2015
    samples = load_dataset("koniq-10k", ROOT).samples()
    pairs = [names(sample) for sample in samples]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == 5000
    assert all(scores[better] > scores[worse] for better, worse in pairs)
    # As many photos as 10,000 draws out of 2,015 reach.
    shown = {name for pair in pairs for name in pair}
    assert len(shown) > 1980
    assert Counter(sample.label for sample in samples) == {0: 2500, 1: 2500}


@needs("koniq10k/koniq10k_distributions_sets.csv", "koniq10k/koniq10k_indicators.csv")
@pytest.mark.parametrize("attribute", ["brightness", "colorfulness", "contrast", "sharpness"])
def test_koniq_attributes_are_those_measured(attribute: str) -> None:
    measured = {
        row["image_id"].removesuffix(".jpg"): float(row[attribute])
        for row in table("koniq10k/koniq10k_indicators.csv")
    }
    pairs = [names(sample) for sample in load_dataset(f"koniq-{attribute}", ROOT).samples()]
    assert len({frozenset(pair) for pair in pairs}) == 5000
    assert all(measured[high[:-4]] > measured[low[:-4]] for high, low in pairs)


@needs("agiqa-3k/data.csv")
@pytest.mark.parametrize(
    ("name", "column"), [("agiqa-3k-alignment", "mos_align"), ("agiqa-3k-quality", "mos_quality")]
)
def test_agiqa_pairs_stay_within_a_prompt(name: str, column: str) -> None:
    rows = {row["name"]: row for row in table("agiqa-3k/data.csv")}
    assert (len(rows), len({row["prompt"] for row in rows.values()})) == (2982, 300)
    samples = load_dataset(name, ROOT).samples()
    assert len({frozenset(sample.alternatives) for sample in samples}) == len(samples) == 5000
    for sample in samples:
        better, worse = (rows[image] for image in names(sample))
        assert better["prompt"] == worse["prompt"]
        assert float(better[column]) > float(worse[column])
        if name == "agiqa-3k-alignment":
            assert sample.reference == better["prompt"].strip()
            assert min(float(better["mos_quality"]), float(worse["mos_quality"])) >= 1


@needs("kadid10k/dmos.csv")
def test_kadid_uses_its_own_photos_for_testing() -> None:
    dataset = load_dataset("kadid-10k", ROOT)
    splits: tuple[tuple[Any, range], ...] = (("test", range(73, 82)), ("train", range(1, 73)))
    for split, photos in splits:
        samples = dataset.samples(split)
        assert len(samples) == len(photos) * 25 * 10
        found = set()
        for sample in samples:
            milder, severer = (re.fullmatch(r"I(\d+)_(\d+)_(\d+)\.png", name) for name in names(sample))
            assert milder is not None and severer is not None
            assert milder.groups()[:2] == severer.groups()[:2]
            assert int(milder[3]) < int(severer[3])
            found.add(int(milder[1]))
        assert found == set(photos)


@needs("PIPAL/val_label.txt")
def test_pipal_has_as_many_pairs_as_the_paper_counts() -> None:
    lines = [line.split(",") for line in (ROOT / "PIPAL/val_label.txt").read_text().split()]
    scores = {name: float(score) for name, score in lines}
    copies: dict[str, list[str]] = defaultdict(list)
    for name in scores:
        copies[name.split("_")[0]].append(name)
    assert (len(scores), len(copies)) == (1000, 25)
    samples = load_dataset("pipal", ROOT).samples()
    assert len(samples) == len({sample.alternatives for sample in samples}) == 3025
    bad = {photo: sum(scores[name] < 1500 for name in own) for photo, own in copies.items()}
    good = {photo: 1 + min(4, len(own) - bad[photo]) for photo, own in copies.items()}
    assert sum(bad[photo] * good[photo] for photo in copies) == 3025
    for sample in samples:
        better, worse = names(sample)
        assert scores.get(better, 9999) >= 1500 > scores[worse]
        assert better[:5] == worse[:5]


@needs("PIPAL/Train_Label")
def test_pipal_training_shares_no_photo_with_testing() -> None:
    dataset = load_dataset("pipal", ROOT)
    photos = [
        {name[:5] for sample in dataset.samples(split) for name in names(sample)}
        for split in ("test", "train")  # type: ignore[arg-type]
    ]
    assert (len(photos[0]), len(photos[1])) == (25, 200)
    assert not photos[0] & photos[1]


@needs("retrieval/revisitop/roxford5k/gnd_roxford5k.pkl", "retrieval/revisitop/rparis6k/gnd_rparis6k.pkl")
@pytest.mark.parametrize(("name", "folder"), [("roxford", "roxford5k"), ("rparis", "rparis6k")])
@pytest.mark.parametrize("protocol", ["easy", "medium", "hard"])
def test_mean_average_precision_on_random_descriptors(name: str, folder: str, protocol: Any) -> None:
    content = pickle.loads((ROOT / f"retrieval/revisitop/{folder}/gnd_{folder}.pkl").read_bytes())
    found = load_dataset(name, ROOT).retrieval()  # type: ignore[attr-defined]
    assert len(found.queries) == 70
    assert len(found.gallery) == {"roxford": 4993, "rparis": 6322}[name]
    random = np.random.default_rng(len(folder))
    queries, gallery = (random.normal(size=(len(part), 32)) for part in (found.queries, found.gallery))
    scores = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    ).T
    wanted = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}[protocol]
    ignored = {"easy": ("junk", "hard"), "medium": ("junk",), "hard": ("junk", "easy")}[protocol]
    expected = []
    for row, truth in zip(scores, content["gnd"], strict=True):
        parts = {part: set(np.asarray(truth[part], dtype=int).tolist()) for part in ("easy", "hard", "junk")}
        positive = set().union(*(parts[part] for part in wanted))
        expected.append(
            average_precision(row, positive, set().union(*(parts[part] for part in ignored)))
            if positive
            else np.nan
        )
    masks = (torch.from_numpy(mask) for mask in (found.easy, found.hard, found.junk))
    ours = revisited_average_precision(torch.from_numpy(scores), *masks, protocol).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert abs(np.nanmean(ours) - np.nanmean(expected)) < 1e-12


@pytest.fixture
def stand_ins(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a set's annotations, and makes the images of some of its samples."""

    def make(name: str, count: int = 40) -> Path:
        dataset = load_dataset(name, ROOT)
        for file in dataset.files["test"]:
            target = tmp_path / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / file).read_bytes())
        random = np.random.default_rng(0)
        for sample in load_dataset(name, tmp_path).samples(n=count):
            for path in (sample.reference, *sample.alternatives):
                if isinstance(path, Path) and not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    noise = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                    Image.fromarray(noise).save(path)
        for folder in dataset.images["test"]:
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("koniq-10k", "koniq10k/koniq10k_distributions_sets.csv"),
        ("agiqa-3k-alignment", "agiqa-3k/data.csv"),
        ("kadid-10k", "kadid10k/dmos.csv"),
        ("pipal", "PIPAL/val_label.txt"),
    ],
)
def test_real_annotations_through_the_runner(
    stand_ins: Callable[[str], Path], tiny_model: EncoderModel, name: str, file: str
) -> None:
    if not (ROOT / file).exists():
        pytest.skip(f"UNISIM_BENCH_ROOT names no data root with {file}")
    root = stand_ins(name)
    result = run(tiny_model, name, root, n=40, cache=False)[name]
    assert (result.n, result.lost) == (40, 0)
    assert all(0 <= outcome.low <= outcome.figure <= outcome.high <= 1 for outcome in result.outcomes)
