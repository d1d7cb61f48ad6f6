"""HPDv2 with more than two images to choose from."""

from __future__ import annotations

import json
from collections import Counter
from math import comb
from pathlib import Path

import pytest
from benchmark_data import write_hpdv2

from unisim_metrics.benchmark import hash_samples, list_datasets, load_dataset, register
from unisim_metrics.benchmark.datasets.hpdv2 import NAFC_SETS, HPDv2, HPDv2Nafc


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_hpdv2(folder)
    return folder


def test_are_listed_only_where_asked_for() -> None:
    names = [f"hpdv2-nafc-{count}" for count in range(2, 9)]
    assert [dataset.id for dataset in NAFC_SETS] == names
    assert not set(names) & set(list_datasets())
    assert list_datasets(variants=True) == [*list_datasets(), *names]
    assert list_datasets("image-text", variants=True)[-7:] == names
    assert not set(names) & set(list_datasets(trained=True, variants=True))


@pytest.mark.parametrize("count", range(2, 9))
def test_best_of_so_many_images_is_right(root: Path, count: int) -> None:
    dataset = load_dataset(f"hpdv2-nafc-{count}", root)
    assert isinstance(dataset, HPDv2Nafc)
    assert (dataset.task, dataset.size, dataset.train_size) == ("image-text", 5000, None)
    assert dataset.status().state == "present"
    records = {record["prompt"]: record for record in json.loads((root / "hpdv2/test.json").read_text())}
    samples = dataset.samples()
    # Nine images a prompt, no two of one rank.
    assert len(samples) == 4 * comb(9, count) == len(dataset.pool("test"))
    labels = Counter(sample.label for sample in samples)
    assert len(labels) == count
    assert max(labels.values()) - min(labels.values()) <= 1
    for sample in samples:
        record = records[sample.reference]
        by_name = dict(zip(record["image_path"], record["rank"], strict=True))
        ranks = [by_name[image.name] for image in sample.alternatives]
        assert len(set(sample.alternatives)) == count
        assert ranks[sample.label] == min(ranks)


def test_samples_are_those_of_hpdv2(root: Path) -> None:
    hpdv2 = HPDv2(root)
    assert load_dataset("hpdv2-nafc-2", root).samples(n=20, seed=3) == hpdv2.samples(n=20, seed=3)
    assert load_dataset("hpdv2-nafc-5", root).samples(n=20, seed=3) == hpdv2.nafc(5, 20, 3)


def test_same_samples_on_any_machine(root: Path) -> None:
    hashes = [
        hash_samples(load_dataset(f"hpdv2-nafc-{count}", root).samples(n=30), root)[:8] for count in (2, 4, 8)
    ]
    assert hashes == ["ea3333b2", "0f05a26b", "6df1e4b3"]


def test_bad_arguments(root: Path) -> None:
    dataset = load_dataset("hpdv2-nafc-8", root)
    with pytest.raises(ValueError, match="`split` must be one of"):
        dataset.samples("train")
    with pytest.raises(ValueError, match="`n` must be at least 1, or None, but got 0"):
        dataset.samples(n=0)
    with pytest.raises(ValueError, match=r"`n` must be at most 36, .* of dataset 'hpdv2-nafc-8'"):
        dataset.samples(n=37)

    class Taken(HPDv2):
        id = "hpdv2-nafc-8"

    with pytest.raises(ValueError, match="'hpdv2-nafc-8' is taken"):
        register(Taken)
