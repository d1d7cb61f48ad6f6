"""What a shard's rows are read into: batches of columns, with where each row comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from unisim_metrics.collections.cells import Unreadable
from unisim_metrics.collections.pairs import Source

SOURCE, KEY = "unisim_source", "unisim_key"
"""Columns: the file or archive that a row comes from, and which of its rows it is."""

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """The columns that are read.

    Attributes:
        scored: What is scored, and what it is scored against.
        kept: What goes into the output as it is.
    """

    scored: tuple[Source, ...]
    kept: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, each once."""
        named = [source.column for source in self.scored if source.column is not None]
        return tuple(dict.fromkeys((*named, *self.kept)))

    def row(self, source: str, key: str, values: Mapping[str, Any]) -> Row:
        """A row with these values; what is missing is None."""
        return {SOURCE: source, KEY: key} | {name: values.get(name) for name in self.names}

    def unreadable(self, source: str, key: str, reason: str) -> Row:
        """A row in the place of what cannot be read."""
        return self.passed_over({SOURCE: source, KEY: key} | dict.fromkeys(self.names), reason)

    def passed_over(self, row: Row, reason: str) -> Row:
        """A row of which nothing is scored, and why; what is kept of it stays."""
        return row | {each.column: Unreadable(reason) for each in self.scored if each.column is not None}

    def batches(self, rows: Iterable[Row], size: int) -> Iterator[Mapping[str, list[Any]]]:
        """Cut rows into batches of columns; no rows make one empty batch."""
        left = iter(rows)
        part = list(islice(left, size))
        while True:
            yield self._columns(part)
            part = list(islice(left, size))
            if not part:
                return

    def _columns(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        return {name: [row[name] for row in rows] for name in (SOURCE, KEY, *self.names)}
