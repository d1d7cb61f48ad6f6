"""The seven tasks of the benchmark, in the paper's order, and the sets of each (paper, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from unisim_metrics.tasks import Method

    from .datasets.base import Kind

Group = Literal["core", "ood"]


@dataclass(frozen=True)
class BenchmarkTask:
    """One of the paper's tasks: several sets, whose figures are averaged.

    Attributes:
        id: Its name in files and options.
        title: Its name in tables.
        group: `"core"` for the tasks that UniSim trains on, `"ood"` for those that it does not.
        kinds: What its sets ask, in the words of the metrics.
        datasets: The ids of its sets, in the order of the paper's tables.
        methods: The ways in which an encoder answers it, of which the paper reports the one that is better on
            the task's average; `(None,)` where there is one way only.
    """

    id: str
    title: str
    group: Group
    kinds: tuple[Kind, ...]
    datasets: tuple[str, ...]
    methods: tuple[Method | None, ...] = (None,)


_BY_PROMPT: tuple[Method | None, ...] = ("naive", "clip-iqa")

TASKS: tuple[BenchmarkTask, ...] = (
    BenchmarkTask("img-2afc", "Img-2AFC", "core", ("image-image",), ("nights", "bapps", "pieapp-2afc")),
    BenchmarkTask(
        "it-2afc",
        "IT-2AFC",
        "core",
        ("image-text",),
        ("imagereward", "hpdv2", "agiqa-3k-alignment", "magicbrush", "hq-edit-images"),
    ),
    BenchmarkTask("text-2afc", "Text-2AFC", "core", ("caption",), ("cd-coco", "polaris", "hq-edit-captions")),
    BenchmarkTask(
        "iqa",
        "IQA",
        "core",
        ("quality",),
        ("kadid-10k", "koniq-10k", "pieapp-iqa", "agiqa-3k-quality", "pipal"),
        _BY_PROMPT,
    ),
    BenchmarkTask(
        "paa",
        "PAA",
        "ood",
        ("brightness", "colorfulness", "contrast", "sharpness"),
        ("sice-brightness", "koniq-brightness", "koniq-colorfulness", "koniq-contrast", "koniq-sharpness"),
        _BY_PROMPT,
    ),
    BenchmarkTask("ooo", "OOO", "ood", ("odd-one-out",), ("imagenet-ooo", "cifar-100-ooo")),
    BenchmarkTask("ir", "IR", "ood", ("retrieval",), ("roxford", "rparis")),
)


def find_task(task: str) -> BenchmarkTask:
    """Return the task of that id, or the one that the metrics know by that name (`quality` for `iqa`).

    Raises:
        ValueError: If there is none.
    """
    for candidate in TASKS:
        if task == candidate.id or candidate.kinds == (task,):
            return candidate
    raise ValueError(
        f"Argument `task` must be one of {tuple(known.id for known in TASKS)}, but got {task!r}."
    )


def task_of(kind: Kind) -> BenchmarkTask:
    """Return the task to which a set belongs that asks `kind` (its attribute `task`).

    Raises:
        ValueError: If no task asks that.
    """
    for candidate in TASKS:
        if kind in candidate.kinds:
            return candidate
    kinds = tuple(known for candidate in TASKS for known in candidate.kinds)
    raise ValueError(f"Argument `kind` must be one of {kinds}, but got {kind!r}.")
