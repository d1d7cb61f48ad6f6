"""Rows of Parquet and JSONL files."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

from unisim_metrics.collections.arrow import parquet, pyarrow
from unisim_metrics.collections.reading.rows import Row, Wanted
from unisim_metrics.collections.stores import beside, is_url, open_file, refuse_to_guess

# Column chunks are read piece by piece: a row group of any size takes no more memory.
_BUFFER = 2**20


@dataclass(frozen=True)
class Part:
    """Rows of a table, or samples of an archive, that stand together.

    Attributes:
        start: How many rows of a Parquet file, lines of a JSONL file or samples of an archive stand before them.
        rows: How many they are; None for all that follow.
        offset: The byte of a JSONL file or an archive where they begin.
    """

    start: int = 0
    rows: int | None = None
    offset: int = 0


WHOLE = Part()


def cut_parquet(name: str, most: int) -> Iterator[Part]:
    """Yield the parts of a Parquet file: row groups that together have so many rows, or pieces of one that has more.

    A piece is read from the beginning of its row group on.

    Args:
        name: The file. One that cannot be read is one part.
        most: How many rows a part has at most.

    Raises:
        OSError: If a store does not answer.
    """
    try:
        groups = _row_groups(name)
    except (OSError, pyarrow.ArrowException) as error:
        refuse_to_guess(name, error)
        groups = []
    if sum(groups) <= most:
        yield WHOLE
        return
    start = rows = 0
    for group in groups:
        if rows and rows + group > most:
            yield Part(start, rows)
            start, rows = start + rows, 0
        if group <= most:
            rows += group
            continue
        pieces = -(-group // most)
        ends = [group * (piece + 1) // pieces for piece in range(pieces)]
        yield from (Part(start + low, high - low) for low, high in zip([0, *ends], ends, strict=False))
        start += group
    if rows:
        yield Part(start, rows)


def _row_groups(name: str) -> list[int]:
    """How many rows each row group of a Parquet file has."""
    with open_file(name) as stored, parquet.ParquetFile(stored) as file:
        return [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]


def read_parquet(name: str, wanted: Wanted, size: int, part: Part = WHOLE) -> Iterator[Row]:
    """Yield rows of a Parquet file; one that cannot be read on gives one row that tells why.

    Args:
        name: The file.
        wanted: The columns.
        size: How many rows are read at a time.
        part: Which rows.

    Raises:
        ValueError: If the file lacks a column.
        OSError: If a store does not answer.
    """
    number, columns = part.start, list(wanted.names)
    try:
        with open_file(name) as stored, parquet.ParquetFile(stored, buffer_size=_BUFFER) as file:
            columns = file.schema_arrow.names
            if set(wanted.names) <= set(columns):
                for values in _rows_of(file, list(wanted.names), size, part):
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


def _rows_of(file: Any, columns: list[str], size: int, part: Part) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part, from the row group on in which it begins."""
    behind = list(
        accumulate(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))
    )
    first = bisect_right(behind, part.start)
    skipped = part.start - (behind[first - 1] if first else 0)
    end = None if part.rows is None else skipped + part.rows
    last = len(behind) if part.rows is None else bisect_left(behind, part.start + part.rows) + 1
    start = 0
    for batch in file.iter_batches(
        size, row_groups=list(range(first, min(last, len(behind)))), columns=columns
    ):
        if end is not None and start >= end:
            return
        low = max(skipped - start, 0)
        high = batch.num_rows if end is None else min(end - start, batch.num_rows)
        start += batch.num_rows
        if low < high:
            yield from batch.slice(low, high - low).to_pylist()


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
        return sum(_row_groups(name))
    except (OSError, pyarrow.ArrowException):
        return None


def cut_json_lines(name: str, most: int) -> Iterator[Part]:
    """Yield the parts of a JSONL file, which is read once to find them.

    Args:
        name: The file. Of one that cannot be read on, the last part is all that follows.
        most: How many rows a part has at most.

    Raises:
        OSError: If a store does not answer.
    """
    start = rows = offset = 0
    number = position = 0
    try:
        with open_file(name) as file:
            for line in file:
                if rows == most and line.strip():
                    yield Part(start, rows, offset)
                    start, rows, offset = number, 0, position
                number += 1
                position += len(line)
                rows += bool(line.strip())
    except OSError as error:
        refuse_to_guess(name, error)
        yield Part(start, None, offset)
        return
    yield Part(start, rows, offset) if start else WHOLE


def read_json_lines(name: str, wanted: Wanted, part: Part = WHOLE) -> Iterator[Row]:
    """Yield rows of a JSONL file; a line that is no JSON object is one row that tells why.

    Args:
        name: The file.
        wanted: The columns.
        part: Which rows.

    Raises:
        OSError: If a store does not answer.
    """
    number = part.start
    try:
        with open_file(name) as file:
            file.seek(part.offset)
            lines = ((number, line) for number, line in enumerate(file, start=part.start + 1) if line.strip())
            for number, line in islice(lines, part.rows):
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
