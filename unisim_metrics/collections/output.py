"""The folder that a collection's scores are written to: Parquet shards that are there whole or not at all.

A shard takes its name when all of it is written: a file `part-00000.parquet` is complete. `_unisim.json` says what the
folder holds, and `_SUCCESS` stands where all shards do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from unisim_metrics.collections.arrow import parquet, pyarrow
from unisim_metrics.collections.attempts import Attempts
from unisim_metrics.collections.cells import Unreadable
from unisim_metrics.collections.folders import OWN, WORK, Folder
from unisim_metrics.collections.reading.planning import Shard
from unisim_metrics.collections.reading.rows import KEY, SOURCE
from unisim_metrics.collections.scorer import EMBEDDING, ERROR, SCORE
from unisim_metrics.collections.stores import is_url

SETTINGS_FILE, SUCCESS_FILE = "_unisim.json", "_SUCCESS"
SIGNATURE, INPUTS, ERRORS = b"unisim_signature", b"unisim_inputs", b"unisim_errors"

# Rows that make a row group, and wait in memory for it.
_GROUP = 4096


@dataclass(frozen=True)
class Written:
    """What a complete shard holds."""

    rows: int
    errors: int


class OutputFolder:
    """The folder of one job.

    Args:
        folder: The folder.
        settings: What makes the rows, by name, the signature among it.
        run: What tells this run of the job from those before.
    """

    def __init__(self, folder: Folder, settings: Mapping[str, Any], run: str) -> None:
        self.name = folder.name
        self.is_stored = is_url(folder.name)
        self.settings = json.loads(json.dumps(settings))
        self._run = run
        self._folder, self._work = folder, folder.within(WORK)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if it is not there, and keep other jobs out of it for as long as this process lives.

        What was torn in it is removed.

        Raises:
            ValueError: If it holds something else, or was made with other settings.
            BlockingIOError: If another job works there.
            OSError: If it cannot be written to.
        """
        self._folder.make()
        names = self._folder.names()
        if SETTINGS_FILE not in names and not all(name.startswith(OWN) for name in names):
            raise ValueError(
                f"Argument `output` must be a new folder, an empty one or one that a run was writing to, but"
                f" {self.name} holds no {SETTINGS_FILE}."
            )
        with self._folder.held():
            if SETTINGS_FILE in self._folder.names():
                self._check(json.loads(self._folder.read(SETTINGS_FILE)))
            else:
                self._folder.write(
                    SETTINGS_FILE, json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n"
                )
            self._work.make()
            try:
                yield
            finally:
                self._work.remove_if_empty()  # what is known of shards stays

    def names(self) -> frozenset[str]:
        """What stands in the folder, complete shards among it."""
        return frozenset(self._folder.names())

    def find(self, shard: Shard) -> Written | None:
        """What a shard holds if its file, which is there, is complete.

        A file that is not, of a machine that lost power or a store without whole objects, is removed.

        Raises:
            ValueError: If it was made of other inputs.
            OSError: If a store does not answer.
        """
        folder, name = self._folder, shard.file_name
        # Where a disk has lost some of a file, reading it may fail in any way.
        torn = pyarrow.ArrowException if self.is_stored else (OSError, pyarrow.ArrowException)
        try:
            metadata = parquet.read_metadata(folder.place(name), filesystem=folder.arrow)
        except torn:
            folder.remove(name)
            return None
        notes = metadata.metadata or {}
        if notes.get(INPUTS, b"").decode() != shard.inputs_hash():
            raise ValueError(
                f"Argument `output` must be a folder of the same inputs, but {self.name}/{name} was made of others"
                f" than {shard.names[0]!r} and what follows it: inputs may be added behind those before, not among"
                " them."
            )
        return Written(metadata.num_rows, int(notes[ERRORS]))

    def attempts(self, shard: Shard) -> Attempts:
        """The attempts at a shard."""
        return Attempts(self._work, shard.index, self._run)

    def write(self, shard: Shard) -> ShardWriter:
        """Begin a shard."""
        return ShardWriter(self._folder, shard, self.settings["signature"])

    def complete(self, shards: int, rows: int, errors: int) -> None:
        """Say that all shards are there.

        Raises:
            ValueError: If there are more than were planned.
        """
        surplus = f"part-{shards:05}.parquet"
        if surplus in self._folder.names():
            raise ValueError(
                f"Argument `output` must be a folder of the same inputs, but {self.name}/{surplus} is of more than"
                " there are now."
            )
        for name in self._work.names():
            self._work.remove(name)
        totals = {"shards": shards, "rows": rows, "errors": errors, "signature": self.settings["signature"]}
        self._folder.write(SUCCESS_FILE, json.dumps(totals, indent=2) + "\n")

    def _check(self, known: Mapping[str, Any]) -> None:
        for name in {**known, **self.settings}:
            before, now = known.get(name), self.settings.get(name)
            if before != now:
                raise ValueError(
                    f"Argument `output` must be a folder of the same {name}, but {self.name} was written with"
                    f" {before!r}, and now comes {now!r}: choose another folder."
                )


class ShardWriter:
    """Writes one shard; as a context it leaves nothing behind where the work inside fails.

    Args:
        folder: Where it goes.
        shard: The shard.
        signature: What makes its scores.
    """

    def __init__(self, folder: Folder, shard: Shard, signature: str) -> None:
        self._folder, self._name = folder, shard.file_name
        self._torn = folder.scratch()
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
        """Write what waits, and put the file under its own name."""
        self._flush()
        self._writer.add_key_value_metadata({ERRORS: str(self.errors).encode()})
        self._writer.close()
        self._writer = None
        self._folder.take(self._torn, self._name)

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
