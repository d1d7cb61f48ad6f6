"""Attempts at shards: marks that stay where a process dies, and the rows that were found to kill it.

They are files, so that whoever takes up a shard next, on any engine, knows what became of it before.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from unisim_metrics.collections.folders import WORK, Folder, Mark

_T = TypeVar("_T")

_MARK = ".attempt"
# Of earlier runs a few marks tell nothing: whoever ended a run ended its shards, too.
_TELLING = 3


@dataclass(frozen=True)
class Deadly:
    """What of a shard kills the process that works on it.

    Attributes:
        rows: Why a row is passed over, by its place in the shard.
        end: The row that cannot be got at, nor any behind it; None if all can.
        reason: Why it cannot.
        fruitless: How often nothing was found since a run began, though a process had died.
        run: The run that looked last.
    """

    rows: Mapping[int, str] = field(default_factory=dict)
    end: int | None = None
    reason: str = ""
    fruitless: int = 0
    run: str = ""


NOTHING = Deadly()


class Attempts:
    """The attempts at one shard.

    Args:
        folder: Where the marks are.
        index: The shard's place.
        run: What tells this run from those before.
    """

    def __init__(self, folder: Folder, index: int, run: str) -> None:
        self.run = run
        self._folder = folder
        self._prefix = f"{index:05}-"
        self._found = f"{self._prefix}deadly.json"

    @property
    def deadly(self) -> Deadly:
        """What was found so far."""
        try:
            found = json.loads(self._folder.read(self._found))
        except FileNotFoundError:
            return NOTHING
        return Deadly(**found | {"rows": {int(row): reason for row, reason in found["rows"].items()}})

    @property
    def died(self) -> int:
        """How many processes have died of the shard since it was last looked into."""
        return len(self._marks())

    @property
    def calls_for_search(self) -> bool:
        """Whether what has died calls for a look at the rows."""
        marks = self._marks()
        return len(marks) >= _TELLING or any(self.run in mark for mark in marks)

    def suspects(self) -> tuple[int, int | None]:
        """The rows that were in work when processes died: the first, and the one behind the last; None for all."""
        spans = [_read_span(self._folder, mark) for mark in self._marks()]
        if None in spans or not spans:
            return 0, None
        return min(span[0] for span in spans if span), max(span[1] for span in spans if span)

    def settle(self, deadly: Deadly) -> None:
        """Note what was found, in the place of the marks that led to it."""
        self._folder.write(self._found, json.dumps(vars(deadly), ensure_ascii=False))
        for mark in self._marks():
            self._folder.remove(mark)

    def begin(self) -> Attempt:
        """Leave a mark for as long as the shard is in work."""
        return Attempt(self._folder.mark(f"{self._prefix}{self.run}-{uuid.uuid4().hex}{_MARK}"))

    def forget(self) -> None:
        """Remove all that is known: the shard is complete."""
        for name in self._names():
            self._folder.remove(name)

    def _names(self) -> list[str]:
        return [name for name in self._folder.names() if name.startswith(self._prefix)]

    def _marks(self) -> list[str]:
        return [name for name in self._names() if name.endswith(_MARK)]


class Attempt:
    """One attempt at a shard. That of a process that dies leaves its mark, which tells the rows that were in work.

    Args:
        mark: What stands for it.
    """

    def __init__(self, mark: Mark) -> None:
        self._mark = mark
        self._done = self._asked = 0
        self._write()

    def watch(self, batches: Iterator[_T], size: int) -> Iterator[_T]:
        """Yield batches of so many rows, and note of each that it is asked for."""
        while True:
            self._asked += size
            self._write()
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

    def finish(self, rows: int) -> None:
        """Note that so many rows more are done."""
        self._done += rows
        self._write()

    def end(self) -> None:
        """Remove the mark."""
        self._mark.remove()

    def _write(self) -> None:
        self._mark.write(self._done, self._asked)


def has_died(output: Folder) -> bool:
    """Whether a process died while it had shards of an output folder in work. Nobody may work there now."""
    return any(name.endswith(_MARK) for name in output.within(WORK).names())


def _read_span(folder: Folder, mark: str) -> tuple[int, int] | None:
    """The rows that a mark tells; None if it tells none, as that of a machine that lost power."""
    try:
        found = re.fullmatch(rb" *(\d+) +(\d+)\n", folder.read(mark))
    except FileNotFoundError:
        return None
    return None if found is None else (int(found[1]), int(found[2]))
