"""The sets that have a name: the benchmark's own, and those that other packages register."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar, get_args

from .agiqa import Agiqa3kAlignment, Agiqa3kQuality
from .bapps import Bapps
from .base import Dataset, Kind, Protocol
from .cd_coco import CdCoco
from .editing import HQEditCaptions, HQEditImages, MagicBrush
from .hpdv2 import NAFC_SETS, HPDv2
from .imagereward import ImageReward
from .kadid import Kadid10k
from .koniq import Koniq10k, KoniqBrightness, KoniqColorfulness, KoniqContrast, KoniqSharpness
from .nights import Nights
from .odd_one_out import Cifar100Ooo, ImageNetOoo
from .own import OwnSamples
from .pieapp import PieApp2Afc, PieAppIqa
from .pipal import Pipal
from .polaris import Polaris
from .revisitop import ROxford, RParis
from .sice import SiceBrightness

GROUP = "unisim_metrics.datasets"
"""The group of entry points in which a package names the classes of its sets."""

_FILES = (".jsonl", ".parquet")

# In the order of the paper's Table 1.
_DATASETS: dict[str, type[Dataset]] = {
    dataset.id: dataset
    for dataset in (
        *(Nights, Bapps, PieApp2Afc),
        *(ImageReward, HPDv2, Agiqa3kAlignment, MagicBrush, HQEditImages),
        *(CdCoco, Polaris, HQEditCaptions),
        *(Kadid10k, Koniq10k, PieAppIqa, Agiqa3kQuality, Pipal),
        *(SiceBrightness, KoniqBrightness, KoniqColorfulness, KoniqContrast, KoniqSharpness),
        *(Cifar100Ooo, ImageNetOoo),
        *(ROxford, RParis),
    )
}

# Other forms of a set, which are in no table of the paper.
_VARIANTS: dict[str, type[Dataset]] = {dataset.id: dataset for dataset in NAFC_SETS}

AnyDataset = TypeVar("AnyDataset", bound=type[Dataset])


def register(dataset: AnyDataset) -> AnyDataset:
    """Give a set a name: `load_dataset` then finds the class by its `id`. Usable as a decorator.

    A package that offers sets names their classes as entry points of the group `unisim_metrics.datasets` instead.

    Args:
        dataset: The class.

    Raises:
        ValueError: If another set has that id.
    """
    if dataset.id in _VARIANTS or _DATASETS.setdefault(dataset.id, dataset) is not dataset:
        raise ValueError(f"Argument `dataset` must have an id of its own, but {dataset.id!r} is taken.")
    return dataset


def list_datasets(
    task: Kind | None = None, trained: bool | None = None, *, variants: bool = False
) -> list[str]:
    """Return the ids of the sets, those of the paper first, in its order.

    Args:
        task: Only sets of this task (or `"retrieval"`).
        trained: Only sets that UniSim trains on, or only the others.
        variants: Also other forms of the sets, `hpdv2-nafc-2` to `hpdv2-nafc-8` (Figure 4).

    Raises:
        ValueError: If no set has that task.
    """
    known = _known() | (_VARIANTS if variants else {})
    tasks = tuple(dict.fromkeys(dataset.task for dataset in known.values()))
    if task is not None and task not in tasks:
        raise ValueError(f"Argument `task` must be one of {tasks} or None, but got {task!r}.")
    return [
        name
        for name, dataset in known.items()
        if task in (None, dataset.task) and trained in (None, dataset.train_size is not None)
    ]


def load_dataset(dataset: str | Path, root: str | Path, protocol: Protocol = "paper") -> Dataset:
    """Return a set, whose files are looked for under a data root.

    Args:
        dataset: An id out of `list_datasets`, variants included, or a file of one's own samples, JSON lines or
            Parquet: a `Path`, or a text that ends in `.jsonl` or `.parquet`.
        root: The data root.
        protocol: `"paper"`, or `"authors"` for the samples and images of the authors' code where it differs.

    Raises:
        ValueError: If no set has that id, or there is no such protocol.
        AnnotationError: If the file is malformed. The message names the line.
    """
    if protocol not in get_args(Protocol):
        raise ValueError(f"Argument `protocol` must be one of {get_args(Protocol)}, but got {protocol!r}.")
    found = _find(dataset, root)
    found.protocol = protocol
    return found


def _find(dataset: str | Path, root: str | Path) -> Dataset:
    if isinstance(dataset, Path) or dataset.endswith(_FILES):
        return OwnSamples(Path(dataset), root)
    known = _known() | _VARIANTS
    if dataset not in known:
        near = difflib.get_close_matches(dataset, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Argument `dataset` must be one of {tuple(known)}, but got {dataset!r}.{hint}")
    return known[dataset](root)


def _known() -> dict[str, type[Dataset]]:
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    # The benchmark's own sets cannot be replaced from outside.
    others = {name: entry.load() for name, entry in sorted(found.items()) if name not in _DATASETS}
    return {**_DATASETS, **others}
