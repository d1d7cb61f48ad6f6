"""The folder that a collection's scores are written to: Parquet shards that are there whole or not at all.

A shard is written in `.unisim-work`, and moves when all of it is on the disk: a file `part-00000.parquet` is complete.
`_unisim.json` says what the folder holds, and `_SUCCESS` stands where all shards do. The job that works there has
`.unisim.lock` locked.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from typing_extensions import Self

from unisim_metrics.collections.arrow import parquet, pyarrow
from unisim_metrics.collections.attempts import Attempts, any_died
from unisim_metrics.collections.cells import Unreadable
from unisim_metrics.collections.planning import Shard
from unisim_metrics.collections.rows import KEY, SOURCE
from unisim_metrics.collections.scorer import EMBEDDING, ERROR, SCORE
from unisim_metrics.text_files import write_text

SETTINGS_FILE, SUCCESS_FILE = "_unisim.json", "_SUCCESS"
SIGNATURE, INPUTS, ERRORS = b"unisim_signature", b"unisim_inputs", b"unisim_errors"

# Rows that make a row group, and wait in memory for it.
_GROUP = 4096
_WORK, _LOCK, _TORN = ".unisim-work", ".unisim.lock", ".torn"
_OWN = ".unisim"


def has_died(path: Path) -> bool:
    """Whether a process died while it had shards of a folder in work. Nobody may work there now."""
    return any_died(path / _WORK)


@dataclass(frozen=True)
class Written:
    """What a complete shard holds."""

    rows: int
    errors: int


class OutputFolder:
    """The folder of one job.

    Args:
        path: The folder.
        settings: What makes the rows, by name, the signature among it.
        run: What tells this run of the job from those before.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], run: str) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        self._run = run
        self._work = path / _WORK

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder if it is not there, and keep other jobs out of it for as long as this process lives.

        What was torn in it is removed.

        Raises:
            ValueError: If it holds something else, or was made with other settings.
            BlockingIOError: If another job works there.
            OSError: If it cannot be written to.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        known = self.path / SETTINGS_FILE
        if not known.exists() and any(not entry.name.startswith(_OWN) for entry in self.path.iterdir()):
            raise ValueError(
                f"Argument `output` must be a new folder, an empty one or one that a run was writing to, but"
                f" {self.path} holds no {SETTINGS_FILE}."
            )
        # The system lets go of it when the process ends, in whatever way.
        lock = FileLock(self.path / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BlockingIOError(
                f"Argument `output` must be a folder that no other job is writing to, but one works in {self.path} now."
            ) from None
        try:
            if known.exists():
                self._check(json.loads(known.read_text(encoding="utf-8")))
            else:
                write_text(known, json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n")
            self._work.mkdir(exist_ok=True)
            for torn in (*self.path.glob(f"{_OWN}-*"), *self._work.glob(f"*{_TORN}")):
                if torn.is_file():
                    torn.unlink()
            yield
        finally:
            with suppress(OSError):  # what is known of shards stays
                self._work.rmdir()
            lock.release()

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

    def attempts(self, shard: Shard) -> Attempts:
        """The attempts at a shard."""
        return Attempts(self._work, shard.index, self._run)

    def write(self, shard: Shard) -> ShardWriter:
        """Begin a shard."""
        return ShardWriter(self.path / shard.file_name, self._work, shard, self.settings["signature"])

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
        for file in self._work.glob("*"):
            file.unlink(missing_ok=True)
        totals = {"shards": shards, "rows": rows, "errors": errors, "signature": self.settings["signature"]}
        write_text(self.path / SUCCESS_FILE, json.dumps(totals, indent=2) + "\n")

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
        final: Where it goes.
        work: The folder where it stands until it is complete, on the same disk.
        shard: The shard.
        signature: What makes its scores.
    """

    def __init__(self, final: Path, work: Path, shard: Shard, signature: str) -> None:
        self._final = final
        self._torn = work / f"{uuid.uuid4().hex}{_TORN}"
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
