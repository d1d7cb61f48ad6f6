"""What a collection is cut into: shards, whose number and content follow from the inputs alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from unisim_metrics.collections.archives import read_archive
from unisim_metrics.collections.rows import Row, Wanted
from unisim_metrics.collections.stores import expand_ranges, has_magic, is_url, match, size_of
from unisim_metrics.collections.tables import count_parquet_rows, parquet_types, read_json_lines, read_parquet
from unisim_metrics.images.files import is_image_name, walk_images

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
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
    """

    index: int
    names: tuple[str, ...]
    wanted: Wanted

    @property
    def file_name(self) -> str:
        """What its output is called."""
        return f"part-{self.index:05}.parquet"

    def inputs_hash(self) -> str:
        """SHA-256, in hex, of what it is made of: the names of image files, name and size of an archive or table."""
        digest = hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape"))
        if is_data(self.names[0]):
            digest.update(str(size_of(self.names[0])).encode())
        return digest.hexdigest()

    def count(self) -> int | None:
        """How many rows it has, where that is known before it is read."""
        name = self.names[0]
        if not is_data(name):
            return len(self.names)
        return count_parquet_rows(name) if name.lower().endswith(_PARQUET) else None

    def kept_types(self) -> dict[str, Any]:
        """The Arrow types of the columns that are kept; those that are not named here are texts."""
        name = self.names[0]
        types = parquet_types(name) if name.lower().endswith(_PARQUET) else {}
        return {column: types[column] for column in self.wanted.kept if column in types}

    def batches(self, size: int) -> Iterator[Any]:
        """Yield its rows as batches of columns, at least one."""
        return self.wanted.batches(self._rows(size), size)

    def _rows(self, size: int) -> Iterable[Row]:
        name = self.names[0]
        lower = name.lower()
        if lower.endswith(_ARCHIVES):
            return read_archive(name, self.wanted)
        if lower.endswith(_PARQUET):
            return read_parquet(name, self.wanted, size)
        if lower.endswith(_JSON_LINES):
            return read_json_lines(name, self.wanted)
        return (self._row_of_file(each) for each in self.names)

    def _row_of_file(self, name: str) -> Row:
        images = [source.column for source in self.wanted.scored if source.modality == "image"]
        return self.wanted.row(name, Path(name).stem, {column: name for column in images[:1] if column})


def is_data(name: str) -> bool:
    """Whether a file holds rows, rather than being an image."""
    return name.lower().endswith(DATA_SUFFIXES)


def plan(inputs: Sequence[str], wanted: Wanted, rows_per_shard: int) -> Iterator[Shard]:
    """Yield the shards of inputs, in their order, one after the other: nothing of them is kept here.

    Args:
        inputs: Folders, globs, image files, archives and tables, in any order; paths or URLs.
        wanted: The columns that are read.
        rows_per_shard: How many image files make a shard; an archive or a table is one, however large.

    Raises:
        ValueError: If an input holds nothing, is of an unknown kind, or has no columns where columns are wanted.
        OSError: If there is no such archive or table.
    """
    index = 0
    for holds_rows, names in groupby(_list_files(inputs), key=is_data):
        if not holds_rows:
            _check_columns_of_files(wanted)
        while part := tuple(islice(names, 1 if holds_rows else rows_per_shard)):
            yield Shard(index, part, wanted)
            index += 1


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
