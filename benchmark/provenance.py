"""Where samples are from: the paper's set, a part of it, the demo's stand-in for it, or a set of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .tasks import TASKS

if TYPE_CHECKING:
    from .datasets import Dataset, Split

Provenance = Literal["paper", "subset", "demo", "own"]

TITLES: dict[Provenance | None, str] = {
    "paper": "the paper's set",
    "subset": "a part of the paper's set",
    "demo": "demo data",
    "own": "a set of one's own",
    None: "of unknown origin",
}
"""In words; None stands for results of a version that did not write it down."""

_MARK = ".unisim-demo"
_TEXT = (
    "Made by `unisim bench demo`. Nobody judged these samples: figures of them tell little about a model.\n"
)

# How many samples the whole set has, where that is beyond doubt: fewer are not the paper's set, whoever cut it.
_WHOLE = {
    "nights": 1824,
    "agiqa-3k-alignment": 5000,
    "kadid-10k": 2250,
    "koniq-10k": 5000,
    "agiqa-3k-quality": 5000,
    "pipal": 3025,
    "koniq-brightness": 5000,
    "koniq-colorfulness": 5000,
    "koniq-contrast": 5000,
    "koniq-sharpness": 5000,
    "cifar-100-ooo": 5000,
    "imagenet-ooo": 5000,
    "roxford": 70,
    "rparis": 70,
}


def mark_as_demo(root: Path, names: Iterable[str]) -> None:
    """Mark folders as the demo's: results of what lies in them are never taken for those of the real sets.

    Args:
        root: The data root.
        names: Files and folders under it. The folder of each that stands directly under the root is marked.
    """
    for folder in sorted({name.split("/")[0] for name in names}):
        (root / folder / _MARK).write_text(_TEXT, encoding="utf-8")


def is_published(dataset: str) -> bool:
    """Whether an id is that of a set of the paper, Figure 4's included."""
    from .datasets.hpdv2 import NAFC_SETS

    return any(dataset in task.datasets for task in TASKS) or dataset in {each.id for each in NAFC_SETS}


def tell_provenance(dataset: Dataset, split: Split, count: int, n: int | None) -> Provenance:
    """Tell where samples are from, by the set, its files and their number.

    Args:
        dataset: The set.
        split: Which of its samples.
        count: How many were drawn.
        n: How many were asked for; None for as many as in the paper. A set that has fewer was drawn whole.
    """
    if not is_published(dataset.id):
        return "own"
    names = (*dataset.files[split], *dataset.images[split])
    if any((dataset.root / name.split("/")[0] / _MARK).is_file() for name in names):
        return "demo"
    is_cut = n is not None and count == n and (split == "train" or n < dataset.size)
    is_short = split == "test" and count < _WHOLE.get(dataset.id, 0)
    return "subset" if is_cut or is_short else "paper"
