"""Rows of a CSV, TSV or JSONL file: each one read as it stands, or the file refused with the row that is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisim_metrics.text_files import read_text, split_lines

TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".jsonl"))
# What people call tables too, and what no command reads.
OTHER_TABLE_SUFFIXES = frozenset((".json", ".ods", ".parquet", ".txt", ".xls", ".xlsx"))


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        file: The table.
        place: Where the row stands in it, for messages.
        values: Its values by column; names in lower case.
    """

    file: Path
    place: str
    values: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return the text of a column.

        Raises:
            ValueError: If there is none, it is blank, no text, or holds half of a surrogate pair.
        """
        value = self.values.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"{self.file}: {self.place} has no {column!r}.")
        if not isinstance(value, str):
            raise ValueError(f"{self.file}: {self.place} must hold a text as {column!r}, but got {value!r}.")
        if not is_unicode(value):
            raise ValueError(
                f"{self.file}: {self.place} holds half of a surrogate pair in {column!r}, which is no character:"
                f" {value!a}."
            )
        return value

    def path(self, column: str) -> Path:
        """Return the path in a column, which is relative to the table's folder.

        Raises:
            ValueError: If there is none, or no file can be called so.
        """
        value = self.values.get(column)
        if not isinstance(value, str) or not value.strip():
            return Path(self.text(column))  # which tells what is wrong
        try:
            encoded = os.fsencode(value)
        except UnicodeEncodeError:
            encoded = b"\0"
        if b"\0" in encoded:
            raise ValueError(f"{self.file}: {self.place} names no possible file as {column!r}: {value!a}.")
        return self.file.parent / value

    def name(self, column: str) -> str | None:
        """Return the name in a column, a text or an integer; None where the column is empty.

        Raises:
            ValueError: If it is neither.
        """
        value = self.values.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(
                f"{self.file}: {self.place} must hold a text or an integer as {column!r}, but got {value!r}."
            )
        return str(value)


def is_table(argument: str) -> bool:
    """Whether an argument names a table that can be read."""
    return Path(argument).suffix.lower() in TABLE_SUFFIXES


def is_unicode(text: str) -> bool:
    """Whether a text holds characters only, and no half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_rows(table: Path) -> list[Row]:
    r"""Read a table: UTF-8, or UTF-16 with its mark; lines end with `\n`, `\r\n` or `\r`.

    In TSV a quotation mark is a character like any other. In CSV it may enclose a field, over lines too.

    Raises:
        ValueError: If a row cannot be told from the others, has more fields than the header, or is no JSON object.
        OSError: If the file cannot be read.
    """
    text = read_text(table)
    suffix = table.suffix.lower()
    if suffix == ".jsonl":
        return list(_read_json_lines(table, text))
    found = iter(_split_tsv(text) if suffix == ".tsv" else _split_csv(table, text))
    _, header = next(found, (0, []))
    names = [name.strip().lower() for name in header]
    _check_names(table, names)
    if len(names) == 1 and (other := next((mark for mark in ";\t" if mark in names[0]), None)) is not None:
        raise ValueError(
            f"{table}: the header has one column, {header[0]!r}. Separate columns with"
            f" {'tabs' if suffix == '.tsv' else 'commas'}, not {'semicolons' if other == ';' else 'tabs'}."
        )
    rows: list[Row] = []
    for line, fields in found:
        place = f"row {len(rows) + 1} (line {line})"
        if any(fields[len(names) :]):
            hint = " Enclose a text that holds a comma in quotation marks." if suffix == ".csv" else ""
            raise ValueError(
                f"{table}: {place} has {len(fields)} fields, but the header has {len(names)}.{hint}"
            )
        # Without a name is what a data frame calls its index.
        values = {name: field for name, field in zip(names, fields, strict=False) if name}
        rows.append(Row(table, place, values))
    return rows


def _check_names(table: Path, names: Sequence[str]) -> None:
    for name in names:
        if name and names.count(name) > 1:
            raise ValueError(f"{table}: the column {name!r} is there {names.count(name)} times.")


def _split_tsv(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(split_lines(text), start=1):
        if line:
            yield number, line.split("\t")


def _split_csv(table: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the number of their first line.

    Raises:
        ValueError: If a quotation mark opens a field that is not closed, is closed before the field ends, or seems to
            enclose other rows.
    """
    lines = split_lines(text)
    width = None
    limit = csv.field_size_limit(len(text) + 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first = 1
    try:
        for fields in reader:
            width = len(fields) if width is None else width
            inner = next(
                (
                    number
                    for number in range(first + 1, reader.line_num + 1)
                    if _width(lines[number - 1]) == width
                ),
                None,
            )
            if inner is not None:
                raise ValueError(
                    f"{table}: a quotation mark opens a field in line {first} that swallows line {inner}, which looks"
                    " like a row. Double a quotation mark that is text and enclose its field in two more, or write"
                    " JSONL."
                )
            if fields:
                yield first, fields
            first = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{table}: the quotation marks of the row that begins in line {first} do not fit ({error}). Double a"
            " quotation mark that is text and enclose its field in two more."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _width(line: str) -> int:
    return len(next(csv.reader([line]), []))


def _read_json_lines(table: Path, text: str) -> Iterator[Row]:
    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("a key is there twice")
        return dict(pairs)

    for number, line in enumerate(split_lines(text), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, object_pairs_hook=make)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise ValueError(f"{table}: line {number} is not JSON ({reason}).") from error
        if not isinstance(values, dict):
            raise ValueError(f"{table}: line {number} is not a JSON object.")
        names = [name.strip().lower() for name in values]
        _check_names(table, names)
        yield Row(table, f"line {number}", dict(zip(names, values.values(), strict=True)))
