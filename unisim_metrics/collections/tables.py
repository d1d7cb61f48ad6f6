"""Rows of Parquet and JSONL files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from unisim_metrics.collections.arrow import parquet, pyarrow
from unisim_metrics.collections.rows import Row, Wanted
from unisim_metrics.collections.stores import beside, is_url, open_file, refuse_to_guess


def read_parquet(name: str, wanted: Wanted, size: int) -> Iterator[Row]:
    """Yield the rows of a Parquet file; a file that cannot be read on is one row that tells why.

    Args:
        name: The file.
        wanted: The columns.
        size: How many rows are read at a time.

    Raises:
        ValueError: If the file lacks a column.
        OSError: If a store does not answer.
    """
    number, columns = 0, list(wanted.names)
    try:
        with open_file(name) as stored, parquet.ParquetFile(stored) as file:
            columns = file.schema_arrow.names
            if set(wanted.names) <= set(columns):
                for batch in file.iter_batches(size, columns=list(wanted.names)):
                    for values in batch.to_pylist():
                        yield wanted.row(name, str(number), _placed(values, wanted, name))
                        number += 1
    except (OSError, pyarrow.ArrowException) as error:
        refuse_to_guess(name, error)
        yield wanted.unreadable(name, str(number), f"{name} cannot be read from row {number} on: {error}")
    for column in wanted.names:
        if column not in columns:
            raise ValueError(
                f"{name} must have a column {column!r}, but has {', '.join(map(repr, columns))}."
            )


def parquet_types(name: str) -> dict[str, Any]:
    """The Arrow types of a Parquet file's columns; none if it cannot be read."""
    try:
        with open_file(name) as stored, parquet.ParquetFile(stored) as file:
            return {field.name: field.type for field in file.schema_arrow}
    except (OSError, pyarrow.ArrowException):
        return {}


def count_parquet_rows(name: str) -> int | None:
    """How many rows a Parquet file says it has; None if it cannot be read."""
    try:
        with open_file(name) as stored, parquet.ParquetFile(stored) as file:
            return int(file.metadata.num_rows)
    except (OSError, pyarrow.ArrowException):
        return None


def read_json_lines(name: str, wanted: Wanted) -> Iterator[Row]:
    """Yield the rows of a JSONL file; a line that is no JSON object is one row that tells why.

    Args:
        name: The file.
        wanted: The columns.

    Raises:
        OSError: If a store does not answer.
    """
    number = 0
    try:
        with open_file(name) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _parse_line(name, number, line, wanted)
    except OSError as error:
        refuse_to_guess(name, error)
        yield wanted.unreadable(
            name, str(number), f"{name} cannot be read from line {number + 1} on: {error}"
        )


def _parse_line(name: str, number: int, line: bytes, wanted: Wanted) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return wanted.unreadable(name, str(number), f"{name}: line {number} is not JSON ({error}).")
    if not isinstance(values, dict):
        return wanted.unreadable(name, str(number), f"{name}: line {number} is not a JSON object.")
    row = wanted.row(name, str(number), _placed(values, wanted, name))
    # Lines may hold anything under a name: a column of the output holds texts.
    return row | {column: as_text(row[column]) for column in wanted.kept}


def as_text(value: Any) -> str | None:
    """A value of JSON as a text; a text and nothing stay what they are."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _placed(values: Mapping[str, Any], wanted: Wanted, table: str) -> dict[str, Any]:
    """The values with paths of images made relative to the table's folder."""
    placed = dict(values)
    for source in wanted.scored:
        column = source.column
        if source.modality != "image" or column is None:
            continue
        cell = placed.get(column)
        if isinstance(cell, str) and not is_url(cell):
            placed[column] = beside(table, cell)
        elif isinstance(cell, Mapping) and cell.get("bytes") is None and isinstance(cell.get("path"), str):
            placed[column] = beside(table, cell["path"])
    return placed
