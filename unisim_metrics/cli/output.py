"""Results as a table for people, JSON or CSV for programs; notes and errors on stderr."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

errors = Console(stderr=True, highlight=False, soft_wrap=True)

# A longer table helps nobody: its middle is left out (JSON and CSV hold all rows).
_MOST_ROWS = 60
_WIDTH_OF_PIPES = 120


def print_error(message: str) -> None:
    """Print an error on stderr."""
    errors.print(f"[bold red]Error:[/] {escape(message)}")


def print_warning(message: str) -> None:
    """Print a warning on stderr."""
    errors.print(f"[yellow]Warning:[/] {escape(message)}")


def print_note(message: str) -> None:
    """Print what is good to know on stderr."""
    errors.print(f"[dim]{escape(message)}[/]")


@dataclass
class Result:
    """What a command found.

    Attributes:
        rows: One mapping from column to value each, all with the same columns.
        title: A heading of the table.
        signature: What made the scores; empty for results without scores.
        summary: Figures over all rows.
        details: More for JSON.
        unreadable: Why files could not be read, by file.
        constant: Columns that the title tells already: the table leaves them out.
    """

    rows: list[dict[str, Any]]
    title: str
    signature: str = ""
    summary: dict[str, float | int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    unreadable: Mapping[Path, str] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()

    def to_json(self) -> str:
        """Return all as a JSON object."""
        head: dict[str, Any] = {"signature": self.signature} if self.signature else {}
        content = head | self.summary | {"results": self.rows} | self.details
        content["unreadable"] = [
            {"file": str(path), "reason": reason} for path, reason in self.unreadable.items()
        ]
        return json.dumps(_finite(content), ensure_ascii=False, indent=2) + "\n"

    def to_csv(self) -> str:
        """Return the rows as CSV; every row carries the signature."""
        file = io.StringIO()
        columns = [*self.rows[0], *(["signature"] if self.signature else [])] if self.rows else []
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in _finite(self.rows):
            writer.writerow(row | ({"signature": self.signature} if self.signature else {}))
        return file.getvalue()


@dataclass(frozen=True)
class Output:
    """The options that say where a result goes, and in which form."""

    json: bool = False
    csv: bool = False
    file: Path | None = None

    def check(self) -> None:
        """Check the options before any work is done.

        Raises:
            ValueError: If they contradict each other, or the file's form or folder is unknown.
        """
        if self.json and self.csv:
            raise ValueError("Options --json and --csv must not be given together.")
        if self.file is not None:
            if self._form() == "":
                raise ValueError(
                    f"Option --output must name a .json or .csv file (or come with --json or --csv), not {self.file}."
                )
            check_folder(self.file, "--output")

    def write(self, result: Result) -> None:
        """Print the result, or write it to the file and print the table."""
        for path, reason in result.unreadable.items():
            print_error(reason if str(path) in reason else f"{path}: {reason}")
        if self.file is not None:
            self.file.write_text(
                result.to_json() if self._form() == "json" else result.to_csv(), encoding="utf-8"
            )
        if self.file is None and (self.json or self.csv):
            print(result.to_json() if self.json else result.to_csv(), end="")
        else:
            print_table(result)
        if self.file is not None:
            print_note(f"Wrote {self.file}")

    def _form(self) -> str:
        if self.json or self.csv:
            return "json" if self.json else "csv"
        suffix = self.file.suffix.lower() if self.file is not None else ""
        return suffix[1:] if suffix in (".json", ".csv") else ""


def check_folder(file: Path, option: str) -> None:
    """Raise a `ValueError` if the folder that a file is to be written to does not exist."""
    if not file.parent.is_dir():
        raise ValueError(f"Option {option} must name a file in a folder that exists, but got {file}.")


def print_table(result: Result) -> None:
    """Print a result as a table, its summary and its signature."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_OF_PIPES)
    table = Table(
        title=escape(result.title),
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    columns = [column for column in result.rows[0] if column not in result.constant] if result.rows else []
    for column in columns:
        number = any(isinstance(row[column], (int, float)) for row in result.rows)
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
    rows = result.rows
    hidden = len(rows) - _MOST_ROWS
    shown = rows if hidden <= 0 else [*rows[: _MOST_ROWS // 2], *rows[-_MOST_ROWS // 2 :]]
    for index, row in enumerate(shown):
        if hidden > 0 and index == _MOST_ROWS // 2:
            table.add_row(*([f"… {hidden} more (--json, --csv)"] + [""] * (len(columns) - 1)))
        table.add_row(*(_cell(row[column]) for column in columns))
    console.print(table)
    if result.summary:
        console.print("  ".join(f"{name} [bold]{_cell(value)}[/]" for name, value in result.summary.items()))
    if result.signature:
        console.print(f"[dim]{escape(result.signature)}[/]", soft_wrap=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4f}"
    return escape(str(value))


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
