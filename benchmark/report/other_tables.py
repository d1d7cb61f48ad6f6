"""Tables that the paper does not have: what was measured on other samples than the paper's, and what models cost.

What was measured on other samples is in no table, average or figure beside the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from unisim_metrics.statistics.intervals import Estimate

from ..costs.efficiency import EfficiencyReport, ModelEfficiency
from ..provenance import TITLES, Provenance
from ..results.files import SetResult
from ..results.methods import asked_in
from ..results.summary import Summary, summarize, task_means
from ..tasks import TASKS
from .measurements import Measurement

KINDS = ("images", "texts", "comparisons")
"""What throughput is told of; attributes of `ModelEfficiency`."""

_ORDER: tuple[Provenance | None, ...] = ("paper", "subset", "own", "demo", None)


@dataclass(frozen=True)
class OtherTable:
    """A table in words.

    Attributes:
        id: Its name in labels.
        title: What it shows.
        note: How to read it.
        heads: Its headings.
        numbers: Which columns hold numbers.
        rows: What stands below the headings.
    """

    id: str
    title: str
    note: str
    heads: tuple[str, ...]
    numbers: range
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ApartRow:
    """A model's figure on a set that is not the paper's.

    Attributes:
        id: The model, as other rows have it.
        name: What tables call it.
        result: What was measured.
        figure: The share, with its 95 % interval.
        method: In which way quality and attributes were asked, chosen over the model's sets of the kind; empty
            where there is one way only.
    """

    id: str
    name: str
    result: SetResult
    figure: Estimate
    method: str


def apart_rows(measurements: Iterable[Measurement], names: Mapping[str, str]) -> tuple[ApartRow, ...]:
    """Return a row for each result that is not of the paper's samples: by model, by kind, in the order of sets.

    Args:
        measurements: What was measured.
        names: What tables call the models.
    """

    def kind(result: SetResult) -> tuple[int, int]:
        return _ORDER.index(result.provenance), result.demonstrations

    rows = []
    for measured in measurements:
        for _, group in groupby(sorted(measured.apart, key=kind), key=kind):
            results = {result.dataset: result for result in group}
            summary = summarize(results, paper_choice=measured.paper_choice)
            rows += [
                ApartRow(measured.id, names[measured.id], results[name], figure, _way(summary, results[name]))
                for name, figure in summary.datasets.items()
            ]
    return tuple(rows)


def other_tables(efficiency: EfficiencyReport | None, apart: Iterable[ApartRow]) -> list[OtherTable]:
    """Return the tables of what was measured on other samples and of what models cost, as far as there is any."""
    tables = apart_tables(tuple(apart))
    return tables if efficiency is None else [*tables, efficiency_table(efficiency)]


def apart_tables(rows: Sequence[ApartRow]) -> list[OtherTable]:
    """Return the tables of what was measured on other samples: the demo by task, if it was run, and all by set."""
    demo = [row for row in rows if row.result.provenance == "demo" and not row.result.demonstrations]
    return ([demo_table(demo)] if demo else []) + ([apart_table(rows)] if rows else [])


def demo_table(rows: Iterable[ApartRow]) -> OtherTable:
    """Return the table of models by tasks on the demo's samples, with a dash where a model answers none of a task."""
    models: dict[str, list[ApartRow]] = {}
    for row in rows:
        models.setdefault(row.id, []).append(row)
    lines = []
    for own in models.values():
        means = task_means(
            {row.result.dataset: row.result for row in own}, {row.result.dataset: row.figure for row in own}
        )
        cells = (f"{100 * means[task.id]:.1f}" if task.id in means else "–" for task in TASKS)
        lines.append((own[0].name, *cells))
    return OtherTable(
        "demo",
        "The demo by task",
        "Per cent: the mean of a task's sets that were run, on the demo's samples, which nobody judged. –: the model"
        " does not answer the task, or none of its sets was run.",
        ("Model", *(task.title for task in TASKS)),
        range(1, len(TASKS) + 1),
        tuple(lines),
    )


def apart_table(rows: Iterable[ApartRow]) -> OtherTable:
    """Return the table of what was measured on other samples."""
    return OtherTable(
        "apart",
        "Other samples",
        "Measured on other samples than the paper's sets: on a part of them, on the demo's stand-ins, which nobody"
        " judged, on sets of one's own, or by a version that did not write down which. None of it stands beside the"
        " paper's figures, in an average or in a chart.",
        ("Model", "Samples", "Set", "n", "Figure", "95 % interval", "Notes"),
        range(3, 6),
        tuple(map(_describe_apart, rows)),
    )


def efficiency_table(report: EfficiencyReport) -> OtherTable:
    """Return the table of what models cost."""
    heads = ("Model", "Parameters", *(f"{kind.capitalize()} a second" for kind in KINDS), "Peak memory")
    return OtherTable(
        "efficiency",
        "Efficiency",
        f"Throughput as a ratio to {report.baseline} in the same run, from pixels and words to scores: batches of"
        f" {report.batch_size}, medians of {report.rounds} rounds in which all models take turns. A comparison is of"
        " two images with a third. Memory is the peak of a process that does nothing else, or of its accelerator."
        f" {report.environment.device}, threads: {report.threads}, {report.environment.platform}.",
        heads,
        range(1, len(heads)),
        tuple((model.name, *describe_costs(model)) for model in report.models),
    )


def describe_costs(model: ModelEfficiency) -> tuple[str, ...]:
    """Return what a model costs in words: parameters, throughput of each of `KINDS`, peak memory."""
    ratios = [getattr(model, kind) for kind in KINDS]
    return (
        f"{model.parameters / 1e6:,.1f} M",
        *("–" if ratio is None else f"{ratio:.2f}×" for ratio in ratios),
        f"{model.peak_memory_bytes / 2**20:,.0f} MiB",
    )


def _way(summary: Summary, result: SetResult) -> str:
    choice = summary.methods.get(asked_in(result).id)
    return "" if choice is None else choice.title


def _describe_apart(row: ApartRow) -> tuple[str, ...]:
    result, figure = row.result, row.figure
    notes = [f"asked {row.method}"] if row.method else []
    notes += [f"{result.demonstrations} demonstrations"] if result.demonstrations else []
    notes += [f"{result.lost:,} lost"] if result.lost else []
    notes += [f"{result.unnamed_answers:,} answers name no alternative"] if result.unnamed_answers else []
    notes += [f"{result.truncated_texts:,} texts cut"] if result.truncated_texts else []
    return (
        row.name,
        TITLES[result.provenance],
        result.dataset,
        f"{result.n:,}",
        f"{100 * figure.value:.1f}",
        f"{100 * figure.low:.1f}–{100 * figure.high:.1f}",
        ", ".join(notes),
    )
