"""Reading annotation files, with errors that name the file, the line and what was expected there."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from unisim_metrics.errors import UniSimError
from unisim_metrics.installation import install_extra


class AnnotationError(UniSimError, ValueError):
    """An annotation file does not hold what its set's layout asks for. The message names file and line."""


class Entry:
    """One row or record of an annotation file, whose fields are checked as they are read.

    Args:
        path: The file.
        place: Where in the file, such as `"line 3"`.
        fields: What stands there.
    """

    __slots__ = ("fields", "path", "place")

    def __init__(self, path: Path, place: str, fields: Mapping[str, Any]) -> None:
        self.path = path
        self.place = place
        self.fields = fields

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def error(self, expected: str, got: object) -> AnnotationError:
        """Return an error about this entry."""
        return AnnotationError(f"{self.path}, {self.place}: expected {expected}, but got {_short(got)}.")

    def fail(self, name: str, expected: str) -> NoReturn:
        """Raise an error about one field."""
        if name not in self.fields:
            raise self.error(f"a field {name!r}", list(self.fields))
        raise self.error(f"{name!r} to be {expected}", self.fields[name])

    def text(self, name: str) -> str:
        """Return a text that is not empty."""
        value = self.fields.get(name)
        if not isinstance(value, str) or not value.strip():
            self.fail(name, "a text that is not empty")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise self.error(f"{name!r} to hold characters, no half of a surrogate pair", ascii(value))
        return value

    def file(self, name: str) -> str:
        """Return the name of a file, with forward slashes, that stays inside its folder."""
        value = self.text(name).strip()
        if not _stays_inside(value):
            self.fail(name, "a relative path inside the data root")
        return value

    def number(self, name: str) -> float:
        """Return a finite number."""
        try:
            value = float(self.fields.get(name))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            self.fail(name, "a number")
        return value

    def one_of(self, name: str, allowed: Collection[int]) -> int:
        """Return a whole number out of `allowed`."""
        value = self.number(name)
        if value not in allowed:
            self.fail(name, f"one of {sorted(allowed)}")
        return int(value)

    def record(self, name: str) -> Entry:
        """Return a record inside this one."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            self.fail(name, "a record")
        return Entry(self.path, f"{self.place}, {name!r}", value)

    def list(self, name: str) -> Sequence[Any]:
        """Return a list that is not empty."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not value:
            self.fail(name, "a list that is not empty")
        return value

    def files(self, name: str) -> Sequence[str]:
        """Return a list of file names, as `file` does one."""
        values = self.list(name)
        if not all(isinstance(value, str) and value and _stays_inside(value) for value in values):
            self.fail(name, "a list of relative paths inside the data root")
        return values

    def numbers(self, name: str, count: int) -> Sequence[float]:
        """Return a list of `count` finite numbers."""
        values = self.list(name)
        numeric = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        if len(values) != count or not numeric:
            self.fail(name, f"a list of {count} numbers")
        return values


def read_csv(
    path: Path, columns: Sequence[str], *, header: bool = True, named: bool = True
) -> Iterator[Entry]:
    """Yield the rows of a CSV file.

    Args:
        path: The file, UTF-8.
        columns: The columns that must be there. Blanks around names and values do not count.
        header: Whether the first line names the columns.
        named: Whether those names are used. If not, or if there is no header, `columns` are all of them, in order.

    Raises:
        AnnotationError: If a column is missing, or a row has not as many values as there are columns.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        try:
            names = list(columns)
            if header:
                first = [name.strip() for name in next(rows, [])]
                names = first if named else names
                if missing := [name for name in columns if name not in names]:
                    raise Entry(path, "line 1", {}).error(f"the columns {missing}", first)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    entry = Entry(path, f"line {rows.line_num}", {})
                    raise entry.error(f"{len(names)} values ({', '.join(names)})", row)
                values = (value.strip() for value in row)
                yield Entry(path, f"line {rows.line_num}", dict(zip(names, values, strict=True)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise Entry(path, f"line {rows.line_num + 1}", {}).error("CSV in UTF-8", error) from error


def read_json(path: Path) -> Iterator[Entry]:
    """Yield the records of a JSON file that holds one list of them."""
    try:
        records = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "whole file"
        raise Entry(path, line, {}).error("JSON in UTF-8", error) from error
    if not isinstance(records, list):
        raise Entry(path, "line 1", {}).error("a list of records", records)
    for number, record in enumerate(records, start=1):
        place = f"record {number}"
        if not isinstance(record, dict):
            raise Entry(path, place, {}).error("a record", record)
        yield Entry(path, place, record)


def read_json_lines(path: Path) -> Iterator[Entry]:
    """Yield the records of a file that holds one JSON record a line. Empty lines do not count."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"line {number}"
            try:
                record = json.loads(line)
            except (
                ValueError,
                RecursionError,
            ) as error:  # a ValueError also for a number of thousands of digits
                raise Entry(path, place, {}).error("JSON in UTF-8", error) from error
            if not isinstance(record, dict):
                raise Entry(path, place, {}).error("a record", record)
            yield Entry(path, place, record)


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Entry]:
    """Yield the rows of a Parquet file.

    Args:
        path: The file.
        columns: The columns that must be there.

    Raises:
        AnnotationError: If the file is no Parquet, or a column is missing.
        ModuleNotFoundError: If `pyarrow` is not installed.
    """
    try:
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Reading {path} needs pyarrow: {install_extra('benchmark')}.") from error
    with open(path, "rb") as file:
        try:
            table = parquet.ParquetFile(file)
            names = table.schema_arrow.names
            missing = [name for name in columns if name not in names]
            records = (record for batch in table.iter_batches() for record in batch.to_pylist())
            for number, record in enumerate(() if missing else records, start=1):
                yield Entry(path, f"record {number}", record)
        except (OSError, ValueError) as error:  # pyarrow raises either on damaged files
            raise Entry(path, "whole file", {}).error("Parquet", error) from error
    if missing:
        raise Entry(path, "schema", {}).error(f"the columns {missing}", names)


def _stays_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/") and "\0" not in name


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, Exception) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
