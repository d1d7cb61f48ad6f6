"""What a collection is cut into: shards, whose number and content follow from the inputs alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from unisim_metrics.collections.attempts import NOTHING, Deadly
from unisim_metrics.collections.reading.archives import cut_archive, read_archive
from unisim_metrics.collections.reading.rows import Row, Wanted
from unisim_metrics.collections.reading.tables import (
    WHOLE,
    Part,
    count_parquet_rows,
    cut_json_lines,
    cut_parquet,
    parquet_types,
    read_json_lines,
    read_parquet,
)
from unisim_metrics.collections.stores import expand_ranges, has_magic, is_url, match, size_of
from unisim_metrics.images.files import is_image_name, walk_images

LARGE_ARCHIVE = 2**30
"""Of how many bytes on an archive is cut: to find the samples of all that there are would take a read for each."""

_PLAIN = (".tar",)
_ARCHIVES = (*_PLAIN, ".tar.gz", ".tgz")
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet",)
DATA_SUFFIXES = (*_ARCHIVES, *_JSON_LINES, *_PARQUET)


@dataclass(frozen=True)
class Shard:
    """A part of the input that becomes one file of the output.

    Attributes:
        index: Its place.
        names: Image files, or one archive or table.
        wanted: The columns that are read.
        part: Which rows of a table, or samples of an archive.
    """

    index: int
    names: tuple[str, ...]
    wanted: Wanted
    part: Part = WHOLE

    @property
    def file_name(self) -> str:
        """What its output is called."""
        return f"part-{self.index:05}.parquet"

    def inputs_hash(self) -> str:
        """SHA-256, in hex, of what it is made of: names of images; name, size and part of an archive or table."""
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape"))
        if is_data(self.names[0]):
            digest.update(str(size_of(self.names[0])).encode())
        if self.part != WHOLE:
            digest.update(f" {self.part.start} {self.part.rows}".encode())
        return digest.hexdigest()

    def count(self) -> int | None:
        """How many rows it has, where that is known before it is read."""
        name = self.names[0]
        if not is_data(name):
            return len(self.names)
        if self.part.rows is not None:
            return self.part.rows
        return count_parquet_rows(name) if name.lower().endswith(_PARQUET) else None

    def kept_types(self) -> dict[str, Any]:
        """The Arrow types of the columns that are kept; those that are not named here are texts."""
        name = self.names[0]
        types = parquet_types(name) if name.lower().endswith(_PARQUET) else {}
        return {column: types[column] for column in self.wanted.kept if column in types}

    def batches(self, size: int, deadly: Deadly = NOTHING) -> Iterator[Any]:
        """Yield its rows as batches of columns, at least one.

        Args:
            size: How many rows a batch has.
            deadly: Which of them must not be worked on, nor got at.
        """
        rows = self.rows(size)
        return self.wanted.batches(rows if deadly == NOTHING else self._spare(rows, deadly), size)

    def rows(self, size: int) -> Iterable[Row]:
        """Its rows, of which so many are read at a time."""
        name = self.names[0]
        lower = name.lower()
        if lower.endswith(_ARCHIVES):
            return read_archive(name, self.wanted, self.part)
        if lower.endswith(_PARQUET):
            return read_parquet(name, self.wanted, size, self.part)
        if lower.endswith(_JSON_LINES):
            return read_json_lines(name, self.wanted, self.part)
        return (self._row_of_file(each) for each in self.names)

    def _spare(self, rows: Iterable[Row], deadly: Deadly) -> Iterator[Row]:
        for place, row in enumerate(islice(rows, deadly.end)):
            reason = deadly.rows.get(place)
            yield row if reason is None else self.wanted.passed_over(row, reason)
        if deadly.end is not None:
            name = self.names[0]
            reason = f"{name} cannot be read from row {self.part.start + deadly.end} on: {deadly.reason}"
            yield self.wanted.unreadable(name, "", reason)

    def _row_of_file(self, name: str) -> Row:
        images = [source.column for source in self.wanted.scored if source.modality == "image"]
        return self.wanted.row(name, Path(name).stem, {column: name for column in images[:1] if column})


def is_data(name: str) -> bool:
    """Whether a file holds rows, rather than being an image."""
    return name.lower().endswith(DATA_SUFFIXES)


class Plan:
    """The shards of inputs, in their order: it can be gone through again, and keeps nothing but where it cut files.

    Args:
        inputs: Folders, globs, image files, archives and tables, in any order; paths or URLs.
        wanted: The columns that are read.
        rows_per_shard: How many image files, rows of a table or samples of a large archive make a shard at most; any
            other archive is one.
    """

    def __init__(self, inputs: Sequence[str], wanted: Wanted, rows_per_shard: int) -> None:
        self._inputs, self._wanted, self._most = inputs, wanted, rows_per_shard
        self._cuts: dict[str, list[Part]] = {}

    def __iter__(self) -> Iterator[Shard]:
        """Yield the shards one after the other.

        Raises:
            ValueError: If an input holds nothing, is of an unknown kind, or has no columns where columns are wanted.
            OSError: If there is no such archive or table, or a store does not answer.
        """
        for index, (names, part) in enumerate(self._parts()):
            yield Shard(index, names, self._wanted, part)

    def _parts(self) -> Iterator[tuple[tuple[str, ...], Part]]:
        for holds_rows, names in groupby(_list_files(self._inputs), key=is_data):
            if holds_rows:
                for name in names:
                    yield from (((name,), part) for part in self._cut(name))
                continue
            _check_columns_of_files(self._wanted)
            while files := tuple(islice(names, self._most)):
                yield files, WHOLE

    def _cut(self, name: str) -> Iterable[Part]:
        lower = name.lower()
        if lower.endswith(_PARQUET):
            return cut_parquet(name, self._most)
        if lower.endswith(_JSON_LINES):
            cut = cut_json_lines
        elif lower.endswith(_PLAIN) and not is_url(name) and size_of(name) > LARGE_ARCHIVE:
            cut = cut_archive
        else:
            return [WHOLE]
        # To find lines or samples takes a look at all of a file: once is enough, and of most there is one part.
        if name in self._cuts:
            return self._cuts[name]
        parts = list(cut(name, self._most))
        if len(parts) > 1:
            self._cuts[name] = parts
        return parts


def _list_files(inputs: Sequence[str]) -> Iterator[str]:
    for given in inputs:
        for name in expand_ranges(given):
            if not is_url(name) and Path(name).is_dir():
                yield from _found(map(str, walk_images(Path(name))), name, "Folder {} holds no image file{}.")
            elif has_magic(name):
                files = (file for file in match(name) if is_data(file) or is_image_name(file))
                yield from _found(files, name, "Nothing that can be scored matches {}{}.")
            elif is_data(name):
                size_of(name)  # a name with a slip in it is no damaged file
                yield name
            elif is_image_name(name):
                yield name
            else:
                raise ValueError(
                    f"Inputs must be folders of images, image files, or {', '.join(DATA_SUFFIXES)} files, but got"
                    f" {name!r}."
                )


def _found(names: Iterable[str], of: str, message: str) -> Iterator[str]:
    """Yield the names.

    Raises:
        ValueError: If there is none.
    """
    none = True
    for name in names:
        none = False
        yield name
    if none:
        hint = f"; archives and tables are named by a glob, {of}/*.tar" if "Folder" in message else ""
        raise ValueError(message.format(repr(of), hint))


def _check_columns_of_files(wanted: Wanted) -> None:
    columns = [source.column for source in wanted.scored if source.column is not None]
    if len(columns) > 1 or wanted.kept:
        others = [*columns[1:], *wanted.kept]
        raise ValueError(
            f"Inputs must be archives or tables where columns are named, but image files have no {others[0]!r}."
        )
