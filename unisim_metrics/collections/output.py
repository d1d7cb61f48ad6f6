"""The folder that a collection's scores are written to: Parquet shards that are there whole or not at all.

A shard is written under another name, and takes its own when all of it is on the disk: a file `part-00000.parquet` is
complete. `_unisim.json` says what the folder holds, and `_SUCCESS` stands where all shards do.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from unisim_metrics.collections.arrow import parquet, pyarrow
from unisim_metrics.collections.cells import Unreadable
from unisim_metrics.collections.planning import Shard
from unisim_metrics.collections.rows import KEY, SOURCE
from unisim_metrics.collections.scorer import EMBEDDING, ERROR, SCORE
from unisim_metrics.text_files import write_text

SETTINGS_FILE, SUCCESS_FILE = "_unisim.json", "_SUCCESS"
SIGNATURE, INPUTS, ERRORS = b"unisim_signature", b"unisim_inputs", b"unisim_errors"

# Rows that make a row group, and wait in memory for it.
_GROUP = 4096
_TORN = ".unisim-"


@dataclass(frozen=True)
class Written:
    """What a complete shard holds."""

    rows: int
    errors: int


class OutputFolder:
    """The folder of one job.

    Args:
        path: The folder; it is made if it is not there.
        settings: What makes the rows, by name, the signature among it.

    Raises:
        ValueError: If it holds something else, or was made with other settings.
        OSError: If it cannot be written to.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        path.mkdir(parents=True, exist_ok=True)
        known = path / SETTINGS_FILE
        if known.exists():
            self._check(json.loads(known.read_text(encoding="utf-8")))
        elif any(not entry.name.startswith(_TORN) for entry in path.iterdir()):
            raise ValueError(
                f"Argument `output` must be a new folder, an empty one or one that a run was writing to, but {path}"
                f" holds no {SETTINGS_FILE}."
            )
        else:
            write_text(known, json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n")
        self._remove_torn()

    def find(self, shard: Shard) -> Written | None:
        """What a shard holds if it is complete.

        A file that cannot be read, of a machine that lost power, is removed.

        Raises:
            ValueError: If it was made of other inputs.
        """
        file = self.path / shard.file_name
        if not file.exists():
            return None
        try:
            metadata = parquet.read_metadata(file)
        except (OSError, pyarrow.ArrowException):
            file.unlink()
            return None
        notes = metadata.metadata or {}
        if notes.get(INPUTS, b"").decode() != shard.inputs_hash():
            raise ValueError(
                f"Argument `output` must be a folder of the same inputs, but {file} was made of others than"
                f" {shard.names[0]!r} and what follows it: inputs may be added behind those before, not among them."
            )
        return Written(metadata.num_rows, int(notes[ERRORS]))

    @contextmanager
    def attempt(self, shard: Shard, most: int) -> Iterator[None]:
        """Leave a mark for as long as a shard is in work: that of a process which dies stays.

        Args:
            shard: The shard.
            most: How often a process may die of it before it is given up.

        Raises:
            ChildProcessError: If more have died.
        """
        marks = f"{_TORN}{shard.index:05}-attempt-"
        died = len(list(self.path.glob(f"{marks}*")))
        if died > most:
            raise ChildProcessError(
                f"The process that scores {shard.file_name} has died {died} times. What it reads begins with"
                f" {shard.names[0]!r}: score that by itself to find what kills it."
            )
        mark = self.path / f"{marks}{uuid.uuid4().hex}"
        mark.touch()
        try:
            yield
        finally:
            mark.unlink()

    def write(self, shard: Shard) -> ShardWriter:
        """Begin a shard."""
        return ShardWriter(self.path, shard, self.settings["signature"])

    def complete(self, shards: int, rows: int, errors: int) -> None:
        """Say that all shards are there.

        Raises:
            ValueError: If there are more than were planned.
        """
        surplus = self.path / f"part-{shards:05}.parquet"
        if surplus.exists():
            raise ValueError(
                f"Argument `output` must be a folder of the same inputs, but {surplus} is of more than there are now."
            )
        self._remove_torn()
        totals = {"shards": shards, "rows": rows, "errors": errors, "signature": self.settings["signature"]}
        write_text(self.path / SUCCESS_FILE, json.dumps(totals, indent=2) + "\n")

    def _remove_torn(self) -> None:
        for torn in self.path.glob(f"{_TORN}*"):
            torn.unlink()

    def _check(self, known: Mapping[str, Any]) -> None:
        for name in {**known, **self.settings}:
            before, now = known.get(name), self.settings.get(name)
            if before != now:
                raise ValueError(
                    f"Argument `output` must be a folder of the same {name}, but {self.path} was written with"
                    f" {before!r}, and now comes {now!r}: choose another folder."
                )


class ShardWriter:
    """Writes one shard; as a context it leaves nothing behind where the work inside fails.

    Args:
        folder: Where it goes.
        shard: The shard.
        signature: What makes its scores.
    """

    def __init__(self, folder: Path, shard: Shard, signature: str) -> None:
        self._final = folder / shard.file_name
        self._torn = folder / f"{_TORN}{shard.index:05}-{uuid.uuid4().hex}"
        self._kept = {name: shard.kept_types().get(name, pyarrow.string()) for name in shard.wanted.kept}
        self._notes = {SIGNATURE: signature.encode(), INPUTS: shard.inputs_hash().encode()}
        self._writer: Any = None
        self._waiting: list[Any] = []
        self.rows = 0
        self.errors = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        self._torn.unlink(missing_ok=True)

    def add(self, result: Mapping[str, Any]) -> None:
        """Add a scored batch."""
        batch = self._batch(result)
        self.rows += batch.num_rows
        self.errors += sum(map(bool, result[ERROR]))
        self._waiting.append(batch)
        if sum(each.num_rows for each in self._waiting) >= _GROUP:
            self._flush()

    def finish(self) -> None:
        """Put all on the disk, and then the file under its own name."""
        self._flush()
        self._writer.add_key_value_metadata({ERRORS: str(self.errors).encode()})
        self._writer.close()
        self._writer = None
        _sync(self._torn)
        os.replace(self._torn, self._final)

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pyarrow.Table.from_batches(self._waiting)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._torn, table.schema.with_metadata(self._notes))
        self._writer.write_table(table)
        self._waiting = []

    def _batch(self, result: Mapping[str, Any]) -> Any:
        columns = {name: pyarrow.array(result[name], pyarrow.string()) for name in (SOURCE, KEY)}
        columns |= {
            name: pyarrow.array(_without_reasons(result[name]), kind) for name, kind in self._kept.items()
        }
        columns[SCORE] = pyarrow.array(result[SCORE], pyarrow.float32())
        columns[ERROR] = pyarrow.array(result[ERROR], pyarrow.string())
        if EMBEDDING in result:
            vectors = np.ascontiguousarray(result[EMBEDDING], np.float32)
            columns[EMBEDDING] = pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(vectors.reshape(-1)), vectors.shape[1]
            )
        return pyarrow.record_batch(columns)


def _without_reasons(cells: Sequence[Any]) -> list[Any]:
    return [None if isinstance(cell, Unreadable) else cell for cell in cells]


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: a name must not get there before its content."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
