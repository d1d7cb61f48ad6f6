"""The benchmark's sets: each label against an oracle that reads the same files with the standard library alone."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_data import (
    WRITERS,
    write_benchmark,
    write_cifar,
    write_csv,
    write_hpdv2,
    write_imagereward,
    write_json,
    write_kadid,
    write_koniq,
    write_nights,
    write_pipal,
    write_revisitop,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unisim_metrics.benchmark import (
    AnnotationError,
    Dataset,
    PooledDataset,
    Sample,
    hash_samples,
    list_datasets,
    load_dataset,
    register,
)
from unisim_metrics.benchmark.datasets import RetrievalDataset, registry
from unisim_metrics.benchmark.datasets.hpdv2 import HPDv2
from unisim_metrics.benchmark.datasets.odd_one_out import IMAGENET_GROUPS, _pair
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.datasets.pairs import ScoredPairs
from unisim_metrics.benchmark.samples import Candidate, Stream, arrange
from unisim_metrics.errors import ImageReadError
from unisim_metrics.tasks import modalities

# The paper's Table 1, and Table 5 in thousands.
PAPER = {
    "nights": ("image-image", 1824, 15.9),
    "bapps": ("image-image", 5000, None),
    "pieapp-2afc": ("image-image", 3314, 50.5),
    "imagereward": ("image-text", 412, None),
    "hpdv2": ("image-text", 5000, 645.1),
    "agiqa-3k-alignment": ("image-text", 5000, None),
    "magicbrush": ("image-text", 693, 11.5),
    "hq-edit-images": ("image-text", 2000, 100),
    "cd-coco": ("caption", 780, None),
    "polaris": ("caption", 5000, 245.9),
    "hq-edit-captions": ("caption", 2000, 100),
    "kadid-10k": ("quality", 5000, 9.1),
    "koniq-10k": ("quality", 5000, None),
    "pieapp-iqa": ("quality", 5000, 50.5),
    "agiqa-3k-quality": ("quality", 5000, None),
    "pipal": ("quality", 3025, 73.7),
    "sice-brightness": ("brightness", 2151, None),
    "koniq-brightness": ("brightness", 5000, None),
    "koniq-colorfulness": ("colorfulness", 5000, None),
    "koniq-contrast": ("contrast", 5000, None),
    "koniq-sharpness": ("sharpness", 5000, None),
    "cifar-100-ooo": ("odd-one-out", 5000, None),
    "imagenet-ooo": ("odd-one-out", 5000, None),
    "roxford": ("retrieval", 70, None),
    "rparis": ("retrieval", 70, None),
}
TRAINED = [name for name, (_, _, train) in PAPER.items() if train]
CHOICES = [name for name, (task, _, _) in PAPER.items() if task != "retrieval" and name != "imagereward"]
SPLITS = [(name, split) for name in CHOICES for split in ("test", "train")[: 1 + (name in TRAINED)]]

Choice = tuple[Any, str, frozenset[str]]
"""Reference, right alternative, wrong alternatives; images by their path relative to the root."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"))


def plain(sample: Sample, root: Path) -> Choice:
    def name(item: Any) -> Any:
        return item.relative_to(root).as_posix() if isinstance(item, Path) else item

    alternatives = [name(item) for item in sample.alternatives]
    right = alternatives.pop(sample.label)
    return name(sample.reference), right, frozenset(alternatives)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(file)]


def better(scored: list[tuple[str, float]], reference: str | None = None) -> Iterator[Choice]:
    for (first, high), (second, low) in itertools.permutations(scored, 2):
        if high > low:
            yield reference, first, frozenset({second})


def nights(root: Path, split: str) -> Iterator[Choice]:
    for row in rows(root / "nights/data.csv"):
        if row["split"] == split and int(row["votes"]) >= 6:
            left, right = f"nights/{row['left_path']}", f"nights/{row['right_path']}"
            won, lost = (right, left) if row["right_vote"] == "1" else (left, right)
            yield f"nights/{row['ref_path']}", won, frozenset({lost})


def bapps(root: Path, split: str) -> Iterator[Choice]:
    for kind in ("cnn", "color", "deblur", "frameinterp", "superres", "traditional"):
        for index in range(3):
            judge = float(np.load(root / f"bapps/val/{kind}/judge/{index:06d}.npy")[0])
            p0, p1 = (f"bapps/val/{kind}/{part}/{index:06d}.png" for part in ("p0", "p1"))
            won, lost = (p1, p0) if judge > 0.5 else (p0, p1)
            yield f"bapps/val/{kind}/ref/{index:06d}.png", won, frozenset({lost})


def pieapp_2afc(root: Path, split: str) -> Iterator[Choice]:
    column = {"test": "preference for A", "train": "processed preference for A"}[split]
    for path in (root / "pie_app/labels" / split).iterdir():
        for row in rows(path):
            first, second, share = row["distorted image A"], row["distorted image B"], float(row[column])
            if row["ref. image"] not in (first, second) and not 0.4 <= share <= 0.6:
                folder = f"pie_app/distorted_images/{split}/{row['ref. image'][:-4]}"
                won, lost = (first, second) if share > 0.5 else (second, first)
                reference = f"pie_app/reference_images/{split}/{row['ref. image']}"
                yield reference, f"{folder}/{won}", frozenset({f"{folder}/{lost}"})


def pieapp_iqa(root: Path, split: str) -> Iterator[Choice]:
    for reference, won, lost in pieapp_2afc(root, split):
        for image in (won, *lost):
            yield None, reference, frozenset({image})


def hpdv2(root: Path, split: str) -> Iterator[Choice]:
    for record in json.loads((root / f"hpdv2/{split}.json").read_text()):
        names = record.get("image_path") or record["file_path"]
        images = [f"hpdv2/{split}/{name}" for name in names]
        scores = [-rank for rank in record["rank"]] if "rank" in record else record["human_preference"]
        if "00006811.jpg" not in names:
            yield from better(list(zip(images, scores, strict=True)), record["prompt"])


def magicbrush(root: Path, split: str) -> Iterator[Choice]:
    for record in json.loads((root / f"MagicBrush/{split}.json").read_text()):
        if record["metadata"]["dataset"] == "MagicBrush" and len(record["image"]) == 2:
            before, after = (name.replace("/images/", f"/{split}/") for name in record["image"])
            yield record["conversations"][1]["value"], after, frozenset({before})


def hq_edit(root: Path, split: str, captions: bool) -> Iterator[Choice]:
    for record in json.loads((root / f"HQ-Edit/{split}.json").read_text()):
        if record["metadata"]["dataset"] == "HQ-Edit":
            images, texts = record["image"], [record["input"], record["output"]]
            for asked, offered in [(images, texts)] if captions else [(texts, images)]:
                yield asked[0], offered[0], frozenset({offered[1]})
                yield asked[1], offered[1], frozenset({offered[0]})


def polaris(root: Path, split: str) -> Iterator[Choice]:
    for row in rows(root / f"polaris/polaris_{split}.csv"):
        # The candidates that repeat a reference are those about dogs.
        if float(row["human_score"]) <= 0.5 and "cat" in row["cand"]:
            number = row["imgid"][:-4]
            for reference in (f'A "quoted" dog, number {number}.', f"It's a dog {number}\n"):
                yield f"polaris/images/{number}.jpg", reference, frozenset({row["cand"]})


def kadid(root: Path, split: str) -> Iterator[Choice]:
    for reference, kind in itertools.product({"test": (73, 81), "train": (1, 72)}[split], (1, 25)):
        names = [f"kadid10k/images/I{reference:02d}_{kind:02d}_{level:02d}.png" for level in range(1, 6)]
        yield from better([(name, -level) for level, name in enumerate(names)])


def koniq(root: Path, split: str, attribute: str | None = None) -> Iterator[Choice]:
    measured = {row["image_id"]: row for row in rows(root / "koniq10k/koniq10k_indicators.csv")}
    scored = []
    for row in rows(root / "koniq10k/koniq10k_distributions_sets.csv"):
        name = row["image_name"]
        score = float(measured[name[:-4]][attribute]) if attribute else float(row["MOS"])
        if row["set"] == "test":
            scored.append((f"koniq10k/1024x768/{name}", score))
    yield from better(scored)


def agiqa(root: Path, split: str, score: str) -> Iterator[Choice]:
    table = rows(root / "agiqa-3k/data.csv")
    for prompt in {row["prompt"] for row in table}:
        kept = [row for row in table if row["prompt"] == prompt]
        if score == "mos_align":
            kept = [row for row in kept if float(row["mos_quality"]) >= 1]
        scored = [(f"agiqa-3k/images/{row['name']}", float(row[score])) for row in kept]
        yield from better(scored, prompt if score == "mos_align" else None)


def cd_coco(root: Path, split: str) -> Iterator[Choice]:
    machines = dict(
        zip(
            ("OFA", "GIT", "Our", "ExpNet-v2", "BLIP-2", "ViT-GPT2"),
            ("OFA_Huge", "GIT_Large", "Ensemble", "ExpansionNet_v2", "BLIP_2", "ViT_GPT2"),
            strict=True,
        )
    )
    for index, row in enumerate(rows(root / "coco-triplets/resources/expert_worker_results_extended.csv")):
        votes = [int(row[machine]) for machine in machines]
        if max(votes) >= 3:
            captions = [f"{machine} sees {index}" for machine in machines.values()]
            for caption, count in zip(captions, votes, strict=True):
                if count == 0:
                    image = f"coco-triplets/coco/images/val2014/{row['Image_URL']}"
                    yield image, captions[int(np.argmax(votes))], frozenset({caption})


def pipal(root: Path, split: str) -> Iterator[Choice]:
    files = (
        [root / "PIPAL/val_label.txt"] if split == "test" else sorted((root / "PIPAL/Train_Label").iterdir())
    )
    folder = {"test": "PIPAL/Val", "train": "PIPAL/Train"}[split]
    lines = [line.split(",") for path in files for line in path.read_text().split()]
    for photo in {name[:5] for name, _ in lines}:
        scored = [(name, float(score)) for name, score in lines if name.startswith(photo)]
        good = [f"{folder}_Dist/{name}" for name, score in scored if score >= 1500][:4]
        for name in (f"{folder}_Dist/{name}" for name, score in scored if score < 1500):
            for won in (f"{folder}_Ref/{photo}.bmp", *good):
                yield None, won, frozenset({name})


def sice(root: Path, split: str) -> Iterator[Choice]:
    # A tenth of 25 scenes, and "10" comes after "1".
    for scene in ("1", "10"):
        scored = [
            (f"sice/Dataset_Part1/{scene}/{index}.JPG", value)
            for index, value in enumerate((200, 60, 60, 120, 15), 1)
        ]
        yield from better(scored)


ORACLES: dict[str, Callable[[Path, str], Iterator[Choice]]] = {
    "nights": nights,
    "bapps": bapps,
    "pieapp-2afc": pieapp_2afc,
    "pieapp-iqa": pieapp_iqa,
    "hpdv2": hpdv2,
    "magicbrush": magicbrush,
    "hq-edit-images": lambda root, split: hq_edit(root, split, captions=False),
    "hq-edit-captions": lambda root, split: hq_edit(root, split, captions=True),
    "polaris": polaris,
    "kadid-10k": kadid,
    "koniq-10k": koniq,
    "koniq-brightness": lambda root, split: koniq(root, split, "brightness"),
    "koniq-colorfulness": lambda root, split: koniq(root, split, "colorfulness"),
    "koniq-contrast": lambda root, split: koniq(root, split, "contrast"),
    "koniq-sharpness": lambda root, split: koniq(root, split, "sharpness"),
    "agiqa-3k-alignment": lambda root, split: agiqa(root, split, "mos_align"),
    "agiqa-3k-quality": lambda root, split: agiqa(root, split, "mos_quality"),
    "cd-coco": cd_coco,
    "pipal": pipal,
    "sice-brightness": sice,
}


def test_sets_are_those_of_the_paper() -> None:
    assert list_datasets() == list(PAPER)
    for name, (task, size, train) in PAPER.items():
        dataset = load_dataset(name, "anywhere")
        assert (dataset.id, dataset.task, dataset.size) == (name, task, size)
        assert dataset.train_size == (None if train is None else round(train * 1000))
        assert set(dataset.files) == set(dataset.images) == {"test", *(["train"] if train else [])}
        assert dataset.citation and dataset.licence and dataset.url.startswith("https://")


def test_listing_by_task_and_training() -> None:
    assert list_datasets(task="caption") == ["cd-coco", "polaris", "hq-edit-captions"]
    assert list_datasets(task="brightness") == ["sice-brightness", "koniq-brightness"]
    assert list_datasets(task="retrieval") == ["roxford", "rparis"]
    assert list_datasets(trained=True) == TRAINED
    assert list_datasets("quality", trained=False) == ["koniq-10k", "agiqa-3k-quality"]
    with pytest.raises(ValueError, match=r"`task` must be one of .*'retrieval'.* but got 'captions'"):
        list_datasets("captions")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "split"), [pair for pair in SPLITS if pair[0] in ORACLES])
def test_labels_are_those_of_the_annotations(root: Path, name: str, split: Any) -> None:
    expected = Counter(ORACLES[name](root, split))
    # Each person's answer counts in HPDv2's training; elsewhere a repeated line adds nothing.
    expected = expected if name == "hpdv2" else Counter(set(expected))
    assert len(expected) >= 4
    assert Counter(plain(sample, root) for sample in load_dataset(name, root).samples(split)) == expected


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_samples_are_well_formed(root: Path, name: str, split: Any) -> None:
    dataset = load_dataset(name, root)
    samples = dataset.samples(split)
    task: Any = dataset.task
    modality, of_reference = modalities(task)
    kinds = {"image": Path, "text": str}
    for sample in samples:
        assert isinstance(sample.reference, kinds[of_reference] if of_reference else type(None))
        assert all(isinstance(item, kinds[modality]) for item in sample.alternatives)
        assert (
            len(sample.alternatives) == len(set(sample.alternatives)) == (3 if task == "odd-one-out" else 2)
        )
        assert sample.reference not in sample.alternatives
    counts = Counter(sample.label for sample in samples)
    assert len(counts) == len(samples[0].alternatives)
    assert max(counts.values()) - min(counts.values()) <= 1
    for item in (samples[0].reference, *samples[0].alternatives, *samples[-1].alternatives):
        if isinstance(item, Path):
            assert dataset.image(item).mode == "RGB"


@pytest.mark.parametrize("name", TRAINED)
def test_training_shares_nothing_with_testing(root: Path, name: str) -> None:
    dataset = load_dataset(name, root)
    images: list[set[str]] = []
    for split in ("test", "train"):
        samples = dataset.samples(split)
        items = [item for sample in samples for item in (sample.reference, *sample.alternatives)]
        images.append({str(item) for item in items if item is not None})
    assert not images[0] & images[1]


def test_kadid_splits_by_photo(tmp_path: Path) -> None:
    names = [
        f"I{reference:02d}_{kind:02d}_{level:02d}.png"
        for reference in range(1, 82)
        for kind in (1, 2)
        for level in (1, 2, 3)
    ]
    write_csv(tmp_path / "kadid10k/dmos.csv", [["dist_img"], *([name] for name in names)])
    dataset = load_dataset("kadid-10k", tmp_path)
    photos = {
        split: {
            int(item.name[1:3])
            for sample in dataset.samples(split)
            for item in sample.alternatives
            if isinstance(item, Path)
        }
        for split in ("test", "train")
    }
    assert photos == {"test": set(range(73, 82)), "train": set(range(1, 73))}


def test_fewer_samples_are_some_of_more(root: Path) -> None:
    for name in ("koniq-10k", "cifar-100-ooo", "hpdv2"):
        dataset = load_dataset(name, root)
        few, many = ({plain(sample, root) for sample in dataset.samples(n=n)} for n in (20, 50))
        assert len(few) == 20
        assert few < many
        assert {plain(sample, root) for sample in dataset.samples(n=20, seed=1)} != few


def test_training_is_cut_to_a_random_part(root: Path) -> None:
    dataset = load_dataset("pipal", root)
    whole, part = dataset.samples("train"), dataset.samples("train", n=30)
    chosen = [plain(sample, root) for sample in whole]
    places = [chosen.index(plain(sample, root)) for sample in part]
    assert places == sorted(places)
    assert places[-1] > 40


def test_too_many_or_too_few(root: Path) -> None:
    dataset = load_dataset("kadid-10k", root)
    assert len(dataset.samples()) == 40
    with pytest.raises(
        ValueError, match=r"`n` must be at most 40, the number of distinct test samples.*'kadid-10k'.*41"
    ):
        dataset.samples(n=41)
    with pytest.raises(ValueError, match="`n` must be at least 1"):
        dataset.samples(n=0)


def test_paper_size_is_the_default(tmp_path: Path) -> None:
    rows = [[f"{index}.jpg", "test", index % 97] for index in range(120)]
    write_csv(tmp_path / "koniq10k/koniq10k_distributions_sets.csv", [["image_name", "set", "MOS"], *rows])
    samples = load_dataset("koniq-10k", tmp_path).samples()
    pairs = {frozenset(sample.alternatives) for sample in samples}
    assert len(samples) == len(pairs) == 5000


def test_unknown_split_and_name(root: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`split` must be one of \('test',\) for dataset 'bapps', but got 'train'"
    ):
        load_dataset("bapps", root).samples("train")
    with pytest.raises(ValueError, match=r"`split`.*'val'"):
        load_dataset("nights", root).status("val")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got 'kadid10k'. Did you mean 'kadid-10k'\?"):
        load_dataset("kadid10k", root)


# Random numbers.


@given(st.data(), st.integers(0, 10**12), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_choose_draws_distinct_numbers(data: st.DataObject, total: int, seed: int) -> None:
    count = data.draw(st.integers(0, min(total, 200)))
    fewer = data.draw(st.integers(0, count))
    stream = Stream("set", "test", seed)
    chosen = stream.choose(count, total)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == count
    assert not chosen or 0 <= chosen[0] <= chosen[-1] < total
    assert set(stream.choose(fewer, total)) <= set(chosen)


def test_choose_is_even_and_refuses_too_many() -> None:
    counts = Counter(number for seed in range(2000) for number in Stream("even", seed).choose(3, 10))
    assert all(abs(counts[number] - 600) < 5 * (600 * 0.7) ** 0.5 for number in range(10))
    assert Stream("all").choose(7, 7) == list(range(7))
    with pytest.raises(ValueError, match="Cannot choose 8 distinct numbers out of 7"):
        Stream("all").choose(8, 7)


@given(st.lists(st.integers(2, 6), max_size=40), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_arranging_keeps_the_right_one_right(widths: list[int], seed: int) -> None:
    candidates: list[Candidate] = [
        (f"reference {index}", tuple(f"{index}/{place}" for place in range(width)))
        for index, width in enumerate(widths)
    ]
    samples = arrange(candidates, Stream("set", seed))
    for (reference, alternatives), sample in zip(candidates, samples, strict=True):
        assert sample.reference == reference
        assert sample.alternatives[sample.label] == alternatives[0]
        assert sorted(map(str, sample.alternatives)) == sorted(map(str, alternatives))


@pytest.mark.parametrize("width", [2, 3, 4, 7])
def test_order_tells_nothing(width: int) -> None:
    candidates: list[Candidate] = [(None, tuple(map(str, range(width))))] * 7001
    samples = arrange(candidates, Stream("set", width))
    for alternative in map(str, range(width)):
        counts = Counter(sample.alternatives.index(alternative) for sample in samples)
        spread = 5 * (7001 / width * (1 - 1 / width)) ** 0.5
        assert all(
            abs(counts[place] - 7001 / width) < (1 if alternative == "0" else spread)
            for place in range(width)
        )
    # Neither the samples before nor the place in the list tell the label.
    labels = np.array([sample.label for sample in samples])
    assert abs(np.mean(labels[1:] == labels[:-1]) - 1 / width) < 5 * (1 / width / 7000) ** 0.5
    assert abs(np.corrcoef(labels, np.arange(7001))[0, 1]) < 5 / 7001**0.5


@given(st.lists(st.integers(0, 4), max_size=12))
@settings(deadline=None, max_examples=60)
def test_scored_pairs_against_a_double_loop(scores: list[int]) -> None:
    items = [str(index) for index in range(len(scores))]
    pairs = ScoredPairs("reference", items, scores)
    expected = {
        (first, second)
        for first, high in zip(items, scores, strict=True)
        for second, low in zip(items, scores, strict=True)
        if high > low
    }
    assert {alternatives for _, alternatives in pairs} == expected
    assert len(pairs) == len(expected)
    assert list(pairs[1:]) == list(pairs)[1:]


def test_pairs_are_numbered_without_gaps() -> None:
    expected = [(first, second) for second in range(60) for first in range(second)]
    assert [_pair(number) for number in range(len(expected))] == expected
    # Where the square root of a number this large is rounded.
    for second in (10**8, 10**8 + 1, 3 * 10**9):
        start = second * (second - 1) // 2
        assert [_pair(start - 1), _pair(start)] == [(second - 2, second - 1), (0, second)]


# The same lists everywhere.


def test_lists_do_not_depend_on_the_place(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_koniq(tmp_path)
    monkeypatch.chdir(tmp_path)
    hashes = {
        hash_samples(load_dataset("koniq-10k", place).samples(), place)
        for place in (root, tmp_path, Path("."))
    }
    assert len(hashes) == 1


def test_hash_is_that_of_the_list() -> None:
    root = Path("data")
    samples = [
        Sample("ein Löwe", (root / "a" / "b.png", root / "c.png"), 1),
        Sample(None, (root / "a.png", root / "b.png"), 0),
    ]
    lines = (
        '[{"text":"ein L\\u00f6we"},[{"image":"a/b.png"},{"image":"c.png"}],1]\n'
        '[null,[{"image":"a.png"},{"image":"b.png"}],0]\n'
    )
    assert hash_samples(samples, root) == hashlib.sha256(lines.encode()).hexdigest()
    assert hash_samples(samples[::-1], root) != hash_samples(samples, root)
    for elsewhere in (Path("other"), Path("dat"), Path("/data")):
        with pytest.raises(ValueError, match="`samples` must hold images under the root"):
            hash_samples(samples, elsewhere)


def test_samples_and_sets_travel_to_workers(root: Path) -> None:
    dataset = load_dataset("cifar-100-ooo", root)
    samples = dataset.samples(n=5)
    again, same = pickle.loads(pickle.dumps((dataset, samples)))
    assert same == samples
    assert again.samples(n=5) == samples
    assert len(set(samples)) == 5


# Sets with ways of their own.


def test_odd_one_out_is_of_another_class(root: Path) -> None:
    content = pickle.loads((root / "cifar-100-python/test").read_bytes())
    labels = content[b"coarse_labels"]
    kinds: Counter[tuple[int, int]] = Counter()
    samples = load_dataset("cifar-100-ooo", root).samples()
    for sample in samples:
        classes = [labels[int(item.name)] for item in sample.alternatives if isinstance(item, Path)]
        odd = classes.pop(sample.label)
        assert classes[0] == classes[1] != odd
        kinds[classes[0], odd] += 1
    assert len({frozenset(sample.alternatives) for sample in samples}) == 5000
    assert len(kinds) == 380
    assert max(kinds.values()) - min(kinds.values()) == 1


def test_imagenet_groups_are_apart(root: Path) -> None:
    assert sum(map(len, IMAGENET_GROUPS.values())) == len(frozenset().union(*IMAGENET_GROUPS.values()))
    group_of = {index: group for group, members in IMAGENET_GROUPS.items() for index in members}
    for sample in load_dataset("imagenet-ooo", root).samples(n=300):
        groups = [
            group_of[int(item.parent.name[1:]) - 10000]
            for item in sample.alternatives
            if isinstance(item, Path)
        ]
        odd = groups.pop(sample.label)
        assert groups[0] == groups[1] != odd


def test_cifar_images_are_read_out_of_their_file(root: Path) -> None:
    content = pickle.loads((root / "cifar-100-python/test").read_bytes())
    image = load_dataset("cifar-100-ooo", root).image(root / "cifar-100-python" / "test" / "00007")
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1).ravel(), content[b"data"][7])


def test_sice_images_are_shown_at_a_fifth(root: Path) -> None:
    path = root / "sice/Dataset_Part1/1/1.JPG"
    image = load_dataset("sice-brightness", root).image(path)
    with Image.open(path) as original:
        expected = original.convert("RGB").resize((6, 4), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_more_alternatives_of_hpdv2(root: Path) -> None:
    ranks = {
        f"hpdv2/test/{name}": rank
        for record in json.loads((root / "hpdv2/test.json").read_text())
        for name, rank in zip(record["image_path"], record["rank"], strict=True)
    }
    dataset = HPDv2(root)
    for count in (2, 5, 8):
        samples = dataset.nafc(count, n=30)
        assert len({plain(sample, root) for sample in samples}) == 30
        assert set(Counter(sample.label for sample in samples)) == set(range(count))
        for sample in samples:
            shown = [
                ranks[item.relative_to(root).as_posix()]
                for item in sample.alternatives
                if isinstance(item, Path)
            ]
            assert shown.index(min(shown)) == sample.label
    assert len(dataset.nafc(8)) == 4 * 9
    for wrong in (1, 10):
        with pytest.raises(ValueError, match="`alternatives` must be from 2"):
            dataset.nafc(wrong)


@pytest.mark.parametrize("name", ["roxford", "rparis"])
def test_retrieval_reads_the_ground_truth(root: Path, name: str) -> None:
    dataset = load_dataset(name, root)
    assert isinstance(dataset, RetrievalDataset)
    found = dataset.retrieval()
    path = root / dataset.files["test"][0]
    content = pickle.loads(path.read_bytes())
    assert [query.stem for query in found.queries] == content["qimlist"]
    assert [image.stem for image in found.gallery] == content["imlist"]
    for part in ("easy", "hard", "junk"):
        mask = getattr(found, part)
        assert mask.shape == (3, 20)
        assert mask.dtype == bool
        for row, truth in zip(mask, content["gnd"], strict=True):
            assert np.flatnonzero(row).tolist() == sorted(np.asarray(truth[part], dtype=int).tolist())
    assert all(dataset.image(image).mode == "RGB" for image in (*found.queries, *found.gallery))
    with pytest.raises(TypeError, match=r"instead of samples: call `retrieval\(\)`"):
        dataset.samples()


def test_imagereward_takes_best_against_worst(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_imagereward(tmp_path)
    records = parquet.read_table(tmp_path / "imagereward/metadata-validation.parquet").to_pylist()
    dataset = load_dataset("imagereward", tmp_path)
    samples = dataset.samples()
    assert len(samples) == 4
    for sample in samples:
        ranks = {
            f"imagereward/{row['image_path']}": row["rank"]
            for row in records
            if row["prompt"] == sample.reference
        }
        _, right, (wrong,) = (*plain(sample, tmp_path)[:2], tuple(plain(sample, tmp_path)[2]))
        assert (ranks[right], ranks[wrong]) == (min(ranks.values()), max(ranks.values()))
        assert dataset.image(tmp_path / right).mode == "RGB"
    (tmp_path / "imagereward/metadata-validation.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(AnnotationError, match="expected Parquet"):
        dataset.samples()


def test_pipal_training_copies_in_either_folder(tmp_path: Path) -> None:
    write_pipal(tmp_path)
    (tmp_path / "PIPAL/Train_Dist").rename(tmp_path / "PIPAL/Dist_Imgs")
    dataset = load_dataset("pipal", tmp_path)
    assert dataset.status("train").state == "present"
    sample = dataset.samples("train")[0]
    assert all(isinstance(item, Path) and item.exists() for item in sample.alternatives)


# Files that are not there, or not as they should be.


def test_status_names_what_is_missing(tmp_path: Path) -> None:
    dataset = load_dataset("pipal", tmp_path)
    assert (dataset.status().state, len(dataset.status().missing)) == ("missing", 3)
    with pytest.raises(FileNotFoundError, match=r"'pipal' needs .*val_label\.txt.*https://"):
        dataset.samples()
    write_pipal(tmp_path)
    assert (dataset.status().state, dataset.status("train").state) == ("present", "present")
    shutil.rmtree(tmp_path / "PIPAL/Train_Label")
    status = dataset.status("train")
    assert (status.state, status.missing) == ("incomplete", ("PIPAL/Train_Label/*.txt",))
    assert dataset.status().state == "present"


def test_every_written_set_is_present(root: Path) -> None:
    assert WRITERS
    for name in PAPER:
        dataset = load_dataset(name, root)
        states = {dataset.status(split).state for split in dataset.files}
        assert states == ({"missing"} if name == "imagereward" else {"present"})


def test_unreadable_image_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    for name in ("broken.png", "absent.png"):
        with pytest.raises(ImageReadError, match=name):
            load_dataset("nights", root).image(tmp_path / name)


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


# Sets of one's own.

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
    assert "unisim-metrics[benchmark]" in done.stderr


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


# Cost.


def test_import_is_light() -> None:
    code = (
        "import sys\nfrom unisim_metrics.benchmark import list_datasets, load_dataset\nload_dataset('hpdv2', '.')\n"
        "print({'torch', 'pandas', 'matplotlib', 'pyarrow', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("set()", "{'PIL'}")


def test_nothing_but_annotations_is_read(tmp_path: Path) -> None:
    for write, name, images in (
        (write_nights, "nights", "nights/ref"),
        (write_hpdv2, "hpdv2", "hpdv2/train"),
        (write_kadid, "kadid-10k", "kadid10k/images"),
        (write_cifar, "cifar-100-ooo", None),
    ):
        write(tmp_path)
        before = load_dataset(name, tmp_path).samples()
        if images:
            shutil.rmtree(tmp_path / images)
        dataset: Dataset = load_dataset(name, tmp_path)
        assert dataset.samples() == before
