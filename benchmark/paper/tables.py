"""Tables 2, 3, 6 and 8 of the paper: rows and columns in its order, figures to its digit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..tasks import TASKS, BenchmarkTask, Group
from .models import read_csv

__all__ = ["PAPER_TABLES", "Column", "PaperTable"]

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
