"""What the benchmark's sets must hold: each label read from the same files with the standard library alone."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unisim_metrics.benchmark import (
    Sample,
)

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

Choice = tuple[Any, str, frozenset[str]]
"""Reference, right alternative, wrong alternatives; images by their path relative to the root."""


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
