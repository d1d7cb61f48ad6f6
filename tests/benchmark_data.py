"""Small data in the real layout of each of the benchmark's sets: every file that an adapter may read.

Only `random()` of Python's generator is used, whose stream is promised not to change: lists drawn from this data can be
pinned by their hash.
"""

from __future__ import annotations

import csv
import itertools
import json
import pickle
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGENET_FOLDERS = 1000


class Chance:
    """Random choices that any Python makes alike."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def below(self, count: int) -> int:
        return int(self.random() * count)

    def order(self, count: int) -> list[int]:
        return sorted(range(count), key=[self.random() for _ in range(count)].__getitem__)


def write_image(path: Path, value: int = 0, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value % 256, value * 7 % 256, value * 31 % 256)).save(path)


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_nights(root: Path) -> None:
    chance = Chance(1)
    rows = []
    for index in range(36):
        names = [f"ref/000/{index:03d}.png", *(f"distort/000/{index:03d}_{side}.png" for side in (0, 1))]
        for name in names:
            write_image(root / "nights" / name, index)
        vote = chance.below(2)
        split = ("train", "val", "test")[index % 3]
        votes = 4 + chance.below(6)
        rows.append([index, 1 - vote, vote, votes, *names, "a prompt, with a comma", split, index % 2 == 0])
    columns = [
        "id",
        "left_vote",
        "right_vote",
        "votes",
        "ref_path",
        "left_path",
        "right_path",
        "prompt",
        "split",
        "is_imagenet",
    ]
    write_csv(root / "nights" / "data.csv", [columns, *rows])


def write_bapps(root: Path) -> None:
    chance = Chance(2)
    for kind in ("cnn", "color", "deblur", "frameinterp", "superres", "traditional"):
        folder = root / "bapps" / "val" / kind
        (folder / "judge").mkdir(parents=True)
        for index in range(14):
            for part in ("ref", "p0", "p1"):
                write_image(folder / part / f"{index:06d}.png", index)
            np.save(folder / "judge" / f"{index:06d}.npy", np.array([chance.below(6) / 5], dtype=np.float32))


def write_pieapp(root: Path) -> None:
    chance = Chance(3)
    folder = root / "pie_app"
    for split, references in (("test", ("ref_7", "ref_8")), ("train", ("ref_1", "ref_2", "ref_3"))):
        for reference in references:
            write_image(folder / "reference_images" / split / f"{reference}.png")
            names = [f"distorted_{reference}_{index}.png" for index in range(5)]
            for name in names:
                write_image(folder / "distorted_images" / split / reference / name)
            # The official files write blanks before the columns' names.
            columns = ["ref. image", " distorted image A", " distorted image B"]
            columns += (
                [" preference for A"]
                if split == "test"
                else [" raw preference for A", " processed preference for A"]
            )
            rows = []
            for pair in itertools.combinations([f"{reference}.png", *names] if split == "test" else names, 2):
                share = chance.below(11) / 10
                rows.append(
                    [f"{reference}.png", *pair, *([share] if split == "test" else [1 - share, share])]
                )
            write_csv(folder / "labels" / split / f"{reference}_pairwise_labels.csv", [columns, *rows])
        listed = "".join(f"{reference}.png\n" for reference in references)
        (folder / f"{split}_reference_list.txt").write_text(listed)


def write_hpdv2(root: Path) -> None:
    chance = Chance(4)
    test, train = [], []
    for prompt in range(4):
        names = [f"{prompt}_{index}.jpg" for index in range(9)]
        ranks = [rank + 1 for rank in chance.order(9)]
        test.append({"prompt": f"prompt {prompt}", "image_path": names, "rank": ranks, "user_hash": "x"})
        for name in names:
            write_image(root / "hpdv2" / "test" / name)
    for index in range(30):
        names = [f"{1000 + 2 * index + side:08d}.jpg" for side in (0, 1)]
        preferred = chance.below(2)
        record = {"prompt": f"training prompt {index}", "human_preference": [1 - preferred, preferred]}
        # The same two images were shown to several people; a draw and a damaged image may occur.
        if index == 3:
            record = {**record, "prompt": "training prompt 2"}
            names = list(train[2]["image_path"])
        if index == 4:
            record["human_preference"] = [0, 0]
        if index == 5:
            names[0] = "00006811.jpg"
        record["file_path" if index % 2 else "image_path"] = names
        train.append(record)
        for name in names:
            write_image(root / "hpdv2" / "train" / name)
    write_json(root / "hpdv2" / "test.json", test)
    write_json(root / "hpdv2" / "train.json", train)


def write_magicbrush(root: Path) -> None:
    for split, start, count in (("test", 0, 6), ("train", 100, 9)):
        records = []
        for index in range(start, start + count):
            length = 3 if index % 5 == 4 else 2
            names = [f"{index}_{step}.jpg" for step in range(length)]
            for name in names:
                write_image(root / "MagicBrush" / split / name)
            kind = "MagicBrush-Diff" if index % 5 == 3 else "MagicBrush"
            turns = [
                {"from": "human", "value": "What was done?"},
                {"from": "gpt", "value": f"Edit number {index}."},
            ]
            records.append(
                {
                    "image": [f"MagicBrush/images/{name}" for name in names],
                    "conversations": turns,
                    "metadata": {"dataset": kind},
                }
            )
        write_json(root / "MagicBrush" / f"{split}.json", records)


def write_hq_edit(root: Path) -> None:
    for split, start, count in (("test", 0, 5), ("train", 100, 8)):
        records = []
        for index in range(start, start + count):
            names = [f"HQ-Edit/images/{index}_{side}.png" for side in (0, 1)]
            for name in names:
                write_image(root / name)
            kind = "HQ-Edit-Diff" if index % 4 == 3 else "HQ-Edit"
            described = {"input": f"A scene {index}.", "output": f"A scene {index} in snow."}
            records.append({"image": names, **described, "metadata": {"dataset": kind}})
        write_json(root / "HQ-Edit" / f"{split}.json", records)


def write_polaris(root: Path) -> None:
    chance = Chance(5)
    for split, start, count in (("test", 0, 20), ("train", 100, 30)):
        rows: list[list[Any]] = [["imgid", "refs", "cand", "human_score"]]
        for index in range(start, start + count):
            references = [f'A "quoted" dog, number {index}.', f"It's a dog {index}\n"]
            candidate = f"it's A dog {index}." if index % 4 == 3 else f"a cat {index}"
            rows.append([f"{index}.jpg", repr(references), candidate, chance.below(5) / 4])
            write_image(root / "polaris" / "images" / f"{index}.jpg")
        write_csv(root / "polaris" / f"polaris_{split}.csv", [*rows, rows[1]])


def write_kadid(root: Path) -> None:
    rows: list[list[Any]] = [["dist_img", "ref_img", "dmos", "var"]]
    for reference, kind, level in itertools.product((1, 72, 73, 81), (1, 25), range(1, 6)):
        name = f"I{reference:02d}_{kind:02d}_{level:02d}.png"
        # The scores do not count: the level does.
        rows.append([name, f"I{reference:02d}.png", 1 + level / 2, 0.5])
        write_image(root / "kadid10k" / "images" / name)
    write_csv(root / "kadid10k" / "dmos.csv", rows)


def write_koniq(root: Path) -> None:
    chance = Chance(6)
    attributes = ("brightness", "contrast", "colorfulness", "sharpness")
    sets: list[list[Any]] = [["image_name", "c1", "c_total", "MOS", "SD", "set"]]
    indicators: list[list[Any]] = [["image_id", *attributes, "bitrate"]]
    for index in range(40):
        group = ("training", "validation", "test")[index % 3]
        sets.append([f"{500 + index}.jpg", 0.5, 100, chance.below(30) / 2, 0.5, group])
        indicators.append([500 + index, *(chance.below(12) / 8 for _ in attributes), 0.5])
        write_image(root / "koniq10k" / "1024x768" / f"{500 + index}.jpg")
    write_csv(root / "koniq10k" / "koniq10k_distributions_sets.csv", sets)
    write_csv(root / "koniq10k" / "koniq10k_indicators.csv", reversed_body(indicators))


def reversed_body(rows: list[list[Any]]) -> list[list[Any]]:
    """Turn the rows under the header round: two files of one set need not agree in order."""
    return [rows[0], *rows[:0:-1]]


def write_agiqa(root: Path) -> None:
    chance = Chance(7)
    columns = [
        "name",
        "prompt",
        "adj1",
        "adj2",
        "style",
        "mos_quality",
        "std_quality",
        "mos_align",
        "std_align",
    ]
    rows: list[list[Any]] = [columns]
    for index in range(24):
        name = f"model{index % 6}_normal_{index:03d}.jpg"
        scores = [chance.below(16) / 4, 0.5, chance.below(16) / 4, 0.5]
        rows.append([name, f"a prompt, number {index % 4}", "", "", "", *scores])
        write_image(root / "agiqa-3k" / "images" / name)
    write_csv(root / "agiqa-3k" / "data.csv", rows)


def write_cd_coco(root: Path) -> None:
    chance = Chance(8)
    folder = root / "coco-triplets"
    models = ["OFA_Huge", "GIT_Large", "Ensemble", "ExpansionNet_v2", "BLIP_2", "ViT_GPT2"]
    columns = ["OFA", "GIT", "Our", "ExpNet-v2", "BLIP-2", "ViT-GPT2"]
    captions: list[list[Any]] = [["fname", *models]]
    scores: list[list[Any]] = [["Image_URL", *columns, "max_score"]]
    for index in range(12):
        name = f"COCO_val2014_{index:012d}.jpg"
        votes = [chance.below(5) if chance.below(2) else 0 for _ in columns]
        captions.append([name, *(f"{model} sees {index}" for model in models)])
        scores.append([name, *votes, max(votes)])
        write_image(folder / "coco" / "images" / "val2014" / name)
    write_csv(folder / "resources" / "all_captions_extended.csv", reversed_body(captions))
    write_csv(folder / "resources" / "expert_worker_results_extended.csv", scores)


def write_pipal(root: Path) -> None:
    chance = Chance(9)
    folder = root / "PIPAL"

    def copies(photo: str, images: str, originals: str) -> list[list[Any]]:
        write_image(folder / originals / f"{photo}.bmp")
        rows = []
        for index in range(14):
            name = f"{photo}_{index % 3:02d}_{index:02d}.bmp"
            rows.append([name, f"{1300 + chance.below(400)}.2500"])
            write_image(folder / images / name)
        return rows

    write_csv(
        folder / "val_label.txt",
        [row for photo in ("A0005", "A0019") for row in copies(photo, "Val_Dist", "Val_Ref")],
    )
    for photo in ("A0001", "A0002"):
        write_csv(folder / "Train_Label" / f"{photo}.txt", copies(photo, "Train_Dist", "Train_Ref"))


def write_sice(root: Path) -> None:
    for part, scenes in (("Dataset_Part1", 16), ("Dataset_Part2", 9)):
        for scene in range(1, scenes + 1):
            # Two of the exposures are equally bright.
            for exposure, value in enumerate((200, 60, 60, 120, 15), start=1):
                path = root / "sice" / part / str(scene) / f"{exposure}.JPG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (30, 20), (value, value, value)).save(path)
        write_image(root / "sice" / part / "Label" / "1.JPG")


def write_cifar(root: Path) -> None:
    chance = Chance(10)
    labels = [index % 20 for index in range(80)]
    pixels = np.array([[chance.below(256) for _ in range(48)] * 64 for _ in labels], dtype=np.uint8)
    path = root / "cifar-100-python" / "test"
    path.parent.mkdir()
    content = {
        b"data": pixels,
        b"coarse_labels": labels,
        b"fine_labels": labels,
        b"filenames": [b"x.png"] * 80,
    }
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_imagenet(root: Path) -> None:
    from unisim_metrics.benchmark.datasets.odd_one_out import IMAGENET_GROUPS

    used = frozenset().union(*IMAGENET_GROUPS.values())
    write_image(root / "imagenet" / "example.JPEG")
    content = (root / "imagenet" / "example.JPEG").read_bytes()
    for index in range(IMAGENET_FOLDERS):
        folder = root / "imagenet" / "val" / f"n{10000 + index:08d}"
        folder.mkdir(parents=True)
        if index in used:
            (folder / f"ILSVRC2012_val_{index:08d}.JPEG").write_bytes(content)


def write_revisitop(root: Path) -> None:
    chance = Chance(11)
    for name in ("roxford5k", "rparis6k"):
        folder = root / "retrieval" / "revisitop" / name
        gallery, queries = (
            [f"{name}_{index:06d}" for index in range(20)],
            [f"query_{index}" for index in range(3)],
        )
        truths = []
        for _ in queries:
            order = chance.order(20)
            parts = {"easy": order[:3], "hard": np.array(order[3:5]), "junk": []}
            truths.append({"bbx": (1.0, 2.0, 30.5, 40.0), **parts})
        for image in (*gallery, *queries):
            write_image(folder / "jpg" / f"{image}.jpg")
        content = {"gnd": truths, "imlist": gallery, "qimlist": queries}
        (folder / f"gnd_{name}.pkl").write_bytes(pickle.dumps(content, protocol=3))


def write_imagereward(root: Path) -> None:
    """Write the metadata as Parquet, which needs pyarrow."""
    import pyarrow
    from pyarrow import parquet

    chance = Chance(12)
    records = []
    for prompt in range(5):
        for index in range(4):
            path = f"images/validation/validation_1/{prompt}_{index}.webp"
            # The images of the last prompt are all equally good.
            rank = 1 if prompt == 4 else 1 + chance.below(5)
            records.append(
                {"image_path": path, "prompt_id": f"{prompt:06d}", "prompt": f"prompt {prompt}", "rank": rank}
            )
            write_image(root / "imagereward" / path)
    parquet.write_table(
        pyarrow.Table.from_pylist(records), root / "imagereward" / "metadata-validation.parquet"
    )


WRITERS: tuple[Callable[[Path], None], ...] = (
    *(write_nights, write_bapps, write_pieapp, write_hpdv2, write_magicbrush, write_hq_edit, write_polaris),
    *(write_kadid, write_koniq, write_agiqa, write_cd_coco, write_pipal, write_sice),
    *(write_cifar, write_imagenet, write_revisitop),
)


def write_benchmark(root: Path) -> Path:
    """Write all sets that need no library of their own under one data root."""
    for write in WRITERS:
        write(root)
    return root


def draw(pair: str, root: Path) -> str:
    """The hash of a list of samples, "<set>/<split>"; here, where a worker finds it without the tests."""
    from unisim_metrics.benchmark import hash_samples, load_dataset
    from unisim_metrics.benchmark.datasets import RetrievalDataset, hash_retrieval

    name, split = pair.split("/")
    dataset = load_dataset(name, root)
    if isinstance(dataset, RetrievalDataset):
        return hash_retrieval(dataset.retrieval(), root)
    return hash_samples(dataset.samples(split), root)  # type: ignore[arg-type]
