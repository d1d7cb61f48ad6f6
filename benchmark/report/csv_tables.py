"""Tables as CSV: the paper's columns, and a line each for the paper's figures, ours and the ends of our interval."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from ..efficiency import EfficiencyReport, ModelEfficiency
from .tables import Cell, Table

__all__ = ["SOURCES", "efficiency_to_csv", "to_csv"]

SOURCES: dict[str, Callable[[Cell], float | None]] = {
    "paper": lambda cell: cell.paper,
    "measured": lambda cell: None if cell.measured is None else 100 * cell.measured.value,
    "low": lambda cell: None if cell.measured is None else 100 * cell.measured.low,
    "high": lambda cell: None if cell.measured is None else 100 * cell.measured.high,
    "outside": lambda cell: cell.difference if cell.outside else None,
}
"""What a line holds: the last one ours less the paper's, where that lies outside our interval."""


def to_csv(table: Table) -> str:
    """Return a table as CSV, figures in per cent; a line without any figure is left out."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["model", "name", "group", "source", *(column.id for column in table.columns)])
    for row in table.rows:
        for source, read in SOURCES.items():
            values = [read(row.cells.get(column.id, Cell())) for column in table.columns]
            if any(value is not None for value in values):
                digits = 1 if source == "paper" else 2
                figures = ("" if value is None else f"{value:.{digits}f}" for value in values)
                writer.writerow([row.id, row.name, row.group, source, *figures])
    return file.getvalue()


def efficiency_to_csv(report: EfficiencyReport) -> str:
    """Return what models cost as CSV; empty where a model has no such figure."""
    file = io.StringIO()
    columns = list(ModelEfficiency.model_fields)
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(model.model_dump() for model in report.models)
    return file.getvalue()
