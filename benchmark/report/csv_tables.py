"""Tables as CSV: the paper's columns, and a line each for the paper's figures, ours and the ends of our interval."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

from ..costs.efficiency import EfficiencyReport, ModelEfficiency
from .other_tables import ApartRow
from .tables import Cell, Table

SOURCES: dict[str, Callable[[Cell], float | None]] = {
    "paper": lambda cell: cell.paper,
    "measured": lambda cell: None if cell.measured is None else 100 * cell.measured.value,
    "low": lambda cell: None if cell.measured is None else 100 * cell.measured.low,
    "high": lambda cell: None if cell.measured is None else 100 * cell.measured.high,
    "outside": lambda cell: cell.difference if cell.outside else None,
    "truncated": lambda cell: cell.truncated,
}
"""What a line of figures holds: `outside` ours less the paper's, where that lies outside our interval; `truncated` the
number of texts that were cut to the model's context."""

_DIGITS = {"paper": 1, "truncated": 0}
# What a spreadsheet takes for a formula.
_FORMULAS = ("=", "+", "-", "@")


def to_csv(table: Table) -> str:
    """Return a table as CSV, figures in per cent; a line without any figure is left out.

    A line `method` tells in which way quality and attributes were asked, where a model was measured in two.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "name", "group", "source", *(column.id for column in table.columns)])
    for row in table.rows:
        for source, read in SOURCES.items():
            values = [read(row.cells.get(column.id, Cell())) for column in table.columns]
            if any(value is not None for value in values):
                digits = _DIGITS.get(source, 2)
                figures = ("" if value is None else f"{value:.{digits}f}" for value in values)
                writer.writerow([_text(row.id), _text(row.name), row.group, source, *figures])
        methods = [row.cells.get(column.id, Cell()).method for column in table.columns]
        if any(methods):
            writer.writerow([_text(row.id), _text(row.name), row.group, "method", *methods])
    return file.getvalue()


def apart_to_csv(rows: Iterable[ApartRow]) -> str:
    """Return what was measured on other samples than the paper's as CSV, figures in per cent."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbers = ("n", "lost", "truncated_texts", "demonstrations", "figure", "low", "high")
    writer.writerow(["model", "name", "samples", "dataset", "method", *numbers])
    for row in rows:
        result = row.result
        counts = (result.n, result.lost, result.truncated_texts, result.demonstrations)
        figures = (f"{100 * share:.2f}" for share in (row.figure.value, row.figure.low, row.figure.high))
        samples = result.provenance or "unknown"
        names = (_text(row.id), _text(row.name), samples, _text(result.dataset), row.method)
        writer.writerow([*names, *("" if count is None else count for count in counts), *figures])
    return file.getvalue()


def _text(text: str) -> str:
    """Return text that a spreadsheet shows rather than computes."""
    return f"'{text}" if text.startswith(_FORMULAS) else text


def efficiency_to_csv(report: EfficiencyReport) -> str:
    """Return what models cost as CSV; empty where a model has no such figure."""
    file = io.StringIO()
    columns = list(ModelEfficiency.model_fields)
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**model.model_dump(), "name": _text(model.name)} for model in report.models)
    return file.getvalue()
