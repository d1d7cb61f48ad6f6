"""The report: the paper's tables and figures, with ours beside."""

from __future__ import annotations

from .measurements import Measurement, read_measurements
from .tables import Cell, Row, Table, build_tables
from .write import FORMATS, write_report

__all__ = [
    "FORMATS",
    "Cell",
    "Measurement",
    "Row",
    "Table",
    "build_tables",
    "read_measurements",
    "write_report",
]
