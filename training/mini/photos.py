"""The public photo sets that `unisim-mini` learns from, read from one data root.

Expected folders under the root (each is the set's own archive, unpacked):

    flickr8k/           images/, captions.csv (image, split, caption)
    tiny-imagenet-60/   images/, labels.csv (image, wnid, words)
    bsds400/            images/
    material-2afc/      images/<illumination>/, answers_train.json
    cifar-100-python/   test, meta: for the figures of the card alone
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HELD_OUT_MATERIALS = 30
BSDS_HELD_OUT_EVERY = 5
TINY_HELD_OUT_EVERY = 12


@dataclass(frozen=True)
class MaterialTriplet:
    """One human answer: `closer` was chosen over `farther` as the look-alike of `reference`.

    All three are indices into the sorted file names of one illumination.
    """

    reference: int
    closer: int
    farther: int


def flickr8k_captions(root: Path, split: str) -> dict[Path, list[str]]:
    """Return the photos of one official split (`"train"`, `"dev"`), each with its five captions."""
    captions: dict[Path, list[str]] = defaultdict(list)
    with open(root / "flickr8k" / "captions.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                path = root / "flickr8k" / "images" / row["image"]
                captions[path].append(row["caption"].removesuffix(".").strip())
    return dict(captions)


def tiny_imagenet_labels(root: Path, *, held_out: bool) -> dict[Path, str]:
    """Return the photos of Tiny-ImageNet to train on, or the held-out ones (every twelfth), with their WordNet id."""
    with open(root / "tiny-imagenet-60" / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        root / "tiny-imagenet-60" / "images" / row["image"]: row["wnid"]
        for index, row in enumerate(rows)
        if (index % TINY_HELD_OUT_EVERY == 0) == held_out
    }


def bsds_photos(root: Path, *, held_out: bool) -> list[Path]:
    """Return the pristine BSDS500 photos to train on, or the held-out ones (every fifth)."""
    paths = sorted((root / "bsds400" / "images").rglob("*.jpg"))
    return [path for index, path in enumerate(paths) if (index % BSDS_HELD_OUT_EVERY == 0) == held_out]


def material_images(root: Path) -> list[list[Path]]:
    """Return the renderings, one list an illumination, each sorted by file name (= material)."""
    folders = sorted(path for path in (root / "material-2afc" / "images").iterdir() if path.is_dir())
    return [sorted(path for path in folder.iterdir() if path.is_file()) for folder in folders]


def training_renderings(root: Path) -> list[Path]:
    """Return the renderings of all materials that are not held out."""
    folders = material_images(root)
    held_out = held_out_materials(len(folders[0]))
    return [path for folder in folders for index, path in enumerate(folder) if index not in held_out]


def held_out_materials(count: int, seed: int = 0) -> set[int]:
    """Return the materials (indices below `count`) that no training step may see."""
    order = np.random.default_rng(seed).permutation(count)
    return {int(index) for index in order[:HELD_OUT_MATERIALS]}


def material_triplets(root: Path, materials: Sequence[int] | set[int]) -> list[MaterialTriplet]:
    """Return the answers with a clear majority whose three materials all lie in `materials`."""
    with open(root / "material-2afc" / "answers_train.json", encoding="utf-8") as file:
        answers = json.load(file)["answers_diff"]
    allowed = set(materials)
    return [MaterialTriplet(*answer) for answer in answers if allowed.issuperset(answer)]
