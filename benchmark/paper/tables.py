"""The paper's models, and its Tables 2, 3, 6 and 8: rows and columns in its order, figures to its digit."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from unisim_metrics.models.registry import REGISTRY

from ..tasks import TASKS, BenchmarkTask, Group

_TITLES = {
    "nights": "NIGHTS",
    "bapps": "BAPPS",
    "pieapp-2afc": "PieAPP",
    "imagereward": "ImageReward",
    "hpdv2": "HPDv2",
    "agiqa-3k-alignment": "AGIQA-3K",
    "magicbrush": "MagicBrush",
    "hq-edit-images": "HQ-Edit",
    "cd-coco": "CD-COCO",
    "polaris": "Polaris",
    "hq-edit-captions": "HQ-Edit",
    "kadid-10k": "KADID-10K",
    "koniq-10k": "KonIQ-10K",
    "pieapp-iqa": "PieAPP",
    "agiqa-3k-quality": "AGIQA-3K",
    "pipal": "PIPAL",
    "sice-brightness": "SICE-bri",
    "koniq-brightness": "KonIQ-bri",
    "koniq-colorfulness": "KonIQ-col",
    "koniq-contrast": "KonIQ-con",
    "koniq-sharpness": "KonIQ-sha",
    "imagenet-ooo": "ImageNet-OOO",
    "cifar-100-ooo": "CIFAR-100-OOO",
    "roxford": "ROxford",
    "rparis": "RParis",
}


@dataclass(frozen=True)
class PaperModel:
    """One of the paper's models.

    Attributes:
        id: Its name here; the registry's where that has the model.
        name: Its name in tables.
        group: Under which heading its row stands: `"general-purpose"`, `"specialized"` or `"unisim"`.
        generative: Whether it answers in words (♣ in the paper) rather than from embeddings.
        specialty: The task that it was made for; None for models of several tasks.
        trained: The sets whose training split it has seen, as far as the paper marks them.
        unnamed: Why the registry has no name for it; None where it has.
    """

    id: str
    name: str
    group: str
    generative: bool
    specialty: str | None
    trained: frozenset[str]
    unnamed: str | None


def read_csv(name: str) -> list[dict[str, str]]:
    """Return the rows of a file of this package."""
    return list(csv.DictReader(files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()))


PAPER_MODELS: dict[str, PaperModel] = {
    row["model"]: PaperModel(
        id=row["model"],
        name=row["name"],
        group=row["group"],
        generative=row["generative"] == "yes",
        specialty=row["specialty"] or None,
        trained=frozenset(row["trained"].split()),
        unnamed=row["unnamed"] or None,
    )
    for row in read_csv("models.csv")
}
"""The models by id, in the order of Table 6."""

_OPEN_CLIP = "open_clip:"
_BY_SOURCE = {
    entry.source: entry.name for entry in REGISTRY.values() if entry.source and entry.name in PAPER_MODELS
}


def find_model(name: str) -> PaperModel | None:
    """Return the paper's model of a name; None if the paper has none.

    Args:
        name: As signatures have it: a name of the registry, or what stands behind one (a Hub id,
            `open_clip:ARCHITECTURE/PRETRAINED`).
    """
    return PAPER_MODELS.get(_BY_SOURCE.get(name.removeprefix(_OPEN_CLIP), name))


@dataclass(frozen=True)
class Column:
    """What the figures below each other are of.

    Attributes:
        id: The id of a set or of a task, or `"average"`.
        title: Its heading.
        kind: A set, the average over a task's sets, or the average over the tasks.
        task: The task of a set or of its average; None for the average over the tasks.
    """

    id: str
    title: str
    kind: Literal["set", "task", "group"]
    task: BenchmarkTask | None = None


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        number: Its number there.
        title: What it shows.
        group: The tasks that it is about.
        columns: Its columns, in order.
        figures: Per cent, by model and column, rows in order; no entry where the paper has a dash.
    """

    number: int
    title: str
    group: Group
    columns: tuple[Column, ...]
    figures: Mapping[str, Mapping[str, float]]


def _columns(group: Group, sets: bool) -> tuple[Column, ...]:
    columns: list[Column] = []
    for task in TASKS:
        if task.group == group:
            if sets:
                columns += (Column(name, _TITLES[name], "set", task) for name in task.datasets)
            columns.append(Column(task.id, "average" if sets else task.title, "task", task))
    return (*columns, Column("average", "Avg", "group"))


def _figures(name: str, without: Iterable[str] = ()) -> dict[str, dict[str, float]]:
    return {
        row["model"]: {
            column: float(figure) for column, figure in row.items() if column != "model" and figure
        }
        for row in read_csv(name)
        if row["model"] not in without
    }


PAPER_TABLES: dict[int, PaperTable] = {
    table.number: table
    for table in (
        PaperTable(
            2,
            "Core 2AFC tasks",
            "core",
            _columns("core", sets=True),
            # Table 6 is the full version of Table 2: the same figures, and two rows more.
            _figures("table6.csv", without=("unisim-ll-n-0.5b-v1", "unisim-ll-n-7b-v1")),
        ),
        PaperTable(3, "OOD generalization tasks", "ood", _columns("ood", sets=False), _figures("table3.csv")),
        PaperTable(
            6, "Core 2AFC tasks, all models", "core", _columns("core", sets=True), _figures("table6.csv")
        ),
        PaperTable(
            8,
            "OOD generalization tasks, set by set",
            "ood",
            _columns("ood", sets=True),
            _figures("table8.csv"),
        ),
    )
}
"""The tables by their number."""
