"""The benchmark's sets: each label against an oracle that reads the same files with the standard library alone."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter
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
    write_kadid,
    write_koniq,
    write_nights,
    write_pipal,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from set_oracles import ORACLES, PAPER, TRAINED, plain

from unisim_metrics.benchmark import (
    AnnotationError,
    Dataset,
    Sample,
    hash_samples,
    list_datasets,
    load_dataset,
)
from unisim_metrics.benchmark.datasets import RetrievalDataset
from unisim_metrics.benchmark.datasets.hpdv2 import HPDv2
from unisim_metrics.benchmark.datasets.odd_one_out import IMAGENET_GROUPS, _pair
from unisim_metrics.benchmark.datasets.pairs import ScoredPairs
from unisim_metrics.benchmark.samples import Candidate, arrange
from unisim_metrics.errors import ImageReadError
from unisim_metrics.statistics.stream import Stream
from unisim_metrics.tasks import modalities

CHOICES = [name for name, (task, _, _) in PAPER.items() if task != "retrieval" and name != "imagereward"]
SPLITS = [(name, split) for name in CHOICES for split in ("test", "train")[: 1 + (name in TRAINED)]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark(tmp_path_factory.mktemp("data"))


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
