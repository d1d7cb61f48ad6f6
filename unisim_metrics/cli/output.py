"""Results as a table for people, JSON, CSV or Markdown for programs and pages."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unisim_metrics.cli.terminal import can_print, print_note, print_unreadable, visible
from unisim_metrics.text_files import write_text

if TYPE_CHECKING:
    from unisim_metrics.statistics.intervals import Estimate

# A longer table helps nobody: its middle is left out (JSON and CSV hold all rows).
_MOST_ROWS = 60
_WIDTH_OF_PIPES = 120
# What makes a spreadsheet take a cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Format(str, Enum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


@dataclass
class Result:
    """What a command found.

    Attributes:
        rows: One mapping from column to value each, all with the same columns. A value may be such a mapping itself:
            JSON keeps it, a table has a column for each of its keys.
        title: A heading of the table.
        signature: What made the scores; empty for results without scores.
        summary: Figures over all rows.
        details: More for JSON.
        parts: Tables that people are shown in the place of the one of all rows.
        notes: Sentences that people are shown below the tables.
        json_rows: What JSON has in the place of the rows, where these are worded for people.
        texts_cut: How many texts were cut to the model's context; None where texts are not counted.
        unreadable: Why files could not be read, by file.
        constant: Columns that the title tells already: the table leaves them out.
    """

    rows: list[dict[str, Any]]
    title: str
    signature: str = ""
    summary: dict[str, float | int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    parts: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    json_rows: list[dict[str, Any]] | None = None
    texts_cut: int | None = None
    unreadable: Mapping[Path, str] = field(default_factory=dict)
    constant: frozenset[str] = frozenset()

    def to_json(self, *, ascii_only: bool = False) -> str:
        """Return all as a JSON object."""
        head: dict[str, Any] = {"signature": self.signature} if self.signature else {}
        if self.texts_cut is not None:
            head["texts_cut"] = self.texts_cut
        rows = self.rows if self.json_rows is None else self.json_rows
        content = head | self.summary | {"results": rows} | self.details
        if self.signature:
            content["unreadable"] = [
                {"file": str(path), "reason": reason} for path, reason in self.unreadable.items()
            ]
        return json.dumps(_finite(content), ensure_ascii=ascii_only, indent=2) + "\n"

    def to_csv(self, *, guarded: bool = False) -> str:
        """Return the rows as CSV; every row carries the signature.

        Args:
            guarded: Whether an apostrophe is put before texts that a spreadsheet would take for a formula.
        """
        file = io.StringIO()
        rows = [row | ({"signature": self.signature} if self.signature else {}) for row in self.flat_rows()]
        if guarded:
            rows = [{_guard(name): _guard(value) for name, value in row.items()} for row in rows]
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(_finite(rows))
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return the rows as a table of Markdown, figures with four places, and the signature below."""
        blocks = [f"**{_in_markdown(part.title)}**\n\n{part._table_in_markdown()}" for part in self.parts]
        blocks = blocks or [self._table_in_markdown()]
        blocks.append("".join(f"- {_in_markdown(note)}\n" for note in self.notes))
        blocks.append(f"Signature: {_in_markdown(self.signature)}\n" if self.signature else "")
        return "\n".join(filter(None, blocks))

    def _table_in_markdown(self) -> str:
        rows = self.flat_rows()
        if not rows:
            return ""
        lines = [
            list(map(_in_markdown, rows[0])),
            ["---:" if _is_number(column, rows) else "---" for column in rows[0]],
            *([_in_markdown(_shown(value)) for value in row.values()] for row in rows),
        ]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

    def flat_rows(self) -> list[dict[str, Any]]:
        """Return the rows with a column `outer_inner` for each key of a mapping in them."""
        return [
            {
                name: value
                for column, whole in row.items()
                for name, value in (
                    {f"{column}_{inner}": part for inner, part in whole.items()}
                    if isinstance(whole, dict)
                    else {column: whole}
                ).items()
            }
            for row in self.rows
        ]


@dataclass(frozen=True)
class Output:
    """The options that say where a result goes, and in which form."""

    form: Format | None = None
    json: bool = False
    csv: bool = False
    file: Path | None = None
    guarded: bool = False

    def check(self) -> None:
        """Check the options before any work is done.

        Raises:
            ValueError: If they contradict each other, or the file's form or folder is unknown.
            OSError: If the folder cannot be written to.
        """
        self.chosen()
        if self.file is None:
            return
        if self._form_of_file() is None:
            raise ValueError(
                f"Option --output must name a .json, .csv or .md file (or come with --format), not {self.file}."
            )
        check_folder(self.file, "--output")
        if self.file.is_dir():
            raise ValueError(f"Option --output must name a file, but {self.file} is a folder.")

    def chosen(self) -> Format | None:
        """Return the form that was asked for, by whichever option.

        Raises:
            ValueError: If several forms were asked for.
        """
        short = [form for form, wanted in ((Format.JSON, self.json), (Format.CSV, self.csv)) if wanted]
        forms = {*short, *([self.form] if self.form is not None else [])}
        if len(forms) > 1:
            named = [
                *([f"--format {self.form.value}"] if self.form else []),
                *(f"--{form.value}" for form in short),
            ]
            raise ValueError(f"Options {' and '.join(named)} must not be given together.")
        return next(iter(forms), None)

    def write(self, result: Result) -> None:
        """Print the result, or write it to the file and print the table.

        Raises:
            OSError: If the file cannot be written. The result is printed then.
        """
        print_unreadable(result.unreadable)
        if self.file is None:
            self._print(result, self.chosen() or Format.TABLE)
            return
        form = self._form_of_file() or Format.JSON
        try:
            write_text(self.file, self.to_text(result, form))
        except OSError:
            # What was computed must not be lost with the file.
            self._print(result, form)
            raise
        print_table(result)
        print_note(f"Wrote {self.file}")

    def to_text(self, result: Result, form: Format) -> str:
        """Return a result in a form other than a table of the terminal."""
        if form is Format.CSV:
            return result.to_csv(guarded=self.guarded)
        return result.to_markdown() if form is Format.MARKDOWN else result.to_json()

    def _print(self, result: Result, form: Format) -> None:
        if form is Format.TABLE:
            print_table(result)
            return
        text = self.to_text(result, form)
        if form is Format.JSON and not can_print(text):
            text = result.to_json(ascii_only=True)
        print(text, end="")

    def _form_of_file(self) -> Format | None:
        chosen = self.chosen()
        if chosen is not None and chosen is not Format.TABLE:
            return chosen
        suffixes = {".json": Format.JSON, ".csv": Format.CSV, ".md": Format.MARKDOWN}
        return suffixes.get(self.file.suffix.lower()) if self.file is not None else None


def check_folder(file: Path, option: str) -> None:
    """Check that a file can be written where it is to be written.

    Raises:
        ValueError: If its folder does not exist.
        OSError: If its folder, or a file of that name, must not be written to.
    """
    if not file.parent.is_dir():
        raise ValueError(f"Option {option} must name a file in a folder that exists, but got {file}.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise PermissionError(f"Option {option} must name a file that may be written, but {file} may not.")


def print_table(result: Result) -> None:
    """Print a result as a table, or its parts as several, its notes, its summary and its signature."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH_OF_PIPES)
    for part in result.parts:
        print_table(part)
    if not result.parts:
        _print_rows(console, result)
    for note in result.notes:
        console.print(Text(visible(note)), soft_wrap=True)
    if result.summary:
        console.print("  ".join(f"{name} [bold]{_shown(value)}[/]" for name, value in result.summary.items()))
    if result.texts_cut:
        console.print(
            f"{result.texts_cut} texts are longer than the model's context and were cut.", style="yellow"
        )
    if result.signature:
        console.print(Text(visible(result.signature), style="dim"), soft_wrap=True)


def shown_p(p: float) -> str:
    """Return a p-value with four places, a smaller one by its power of ten."""
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}"


def signed(figure: Estimate, places: int) -> str:
    """Return a figure of either sign with its interval; a dash for ends that nothing tells."""
    if math.isnan(figure.low):
        return f"{figure.value:+.{places}f} [–]"
    return f"{figure.value:+.{places}f} [{figure.low:+.{places}f}, {figure.high:+.{places}f}]"


def _print_rows(console: Console, result: Result) -> None:
    # Not the table's own title, which would be folded to the table's width.
    console.print(Text(visible(result.title), style="bold"), soft_wrap=True)
    table = Table(
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    rows = result.flat_rows()
    columns = [column for column in rows[0] if column not in result.constant] if rows else []
    for column in columns:
        number = _is_number(column, rows)
        table.add_column(
            Text(visible(column)),
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number,
        )
    hidden = len(rows) - _MOST_ROWS
    shown = rows if hidden <= 0 else [*rows[: _MOST_ROWS // 2], *rows[-_MOST_ROWS // 2 :]]
    for index, row in enumerate(shown):
        if hidden > 0 and index == _MOST_ROWS // 2:
            table.add_row(*([f"… {hidden} more (--json, --csv)"] + [""] * (len(columns) - 1)))
        table.add_row(*(Text(visible(_shown(row[column]))) for column in columns))
    console.print(table)


def _is_number(column: str, rows: list[dict[str, Any]]) -> bool:
    return any(isinstance(row[column], (int, float)) for row in rows)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4f}"
    return "–" if value is None else str(value)


def _in_markdown(text: str) -> str:
    """Return a text as one cell: a bar would end it, a tag, a link, emphasis or code would be obeyed."""
    escaped = re.sub(r"([\\|`*])", r"\\\1", visible(text))
    return escaped.replace("](", r"]\(").replace("<", "&lt;")


def _guard(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None."""
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
