"""How far a job is, how fast it goes, and how long it will take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from unisim_metrics.errors import BadRowsError


@dataclass(frozen=True)
class Progress:
    """A moment of a job.

    Attributes:
        rows: How many rows are done, those of an earlier run among them.
        errors: How many of them cannot be scored.
        total: How many rows there are; None where archives do not tell.
        shards: How many shards are done.
        total_shards: How many there are.
        rate: Rows a second of this run.
        seconds_left: How long it will take at this rate; None before anything is known.
    """

    rows: int
    errors: int
    total: int | None
    shards: int
    total_shards: int
    rate: float
    seconds_left: float | None


class Tally:
    """Counts what is done, from several threads, and stops the job where too much is bad.

    Args:
        total: How many rows there are, if that is known.
        total_shards: How many shards there are.
        max_bad: How many rows may be bad; any number if None.
        report: Is called with the progress.
    """

    def __init__(
        self,
        total: int | None,
        total_shards: int,
        max_bad: int | None,
        report: Callable[[Progress], object] | None,
    ) -> None:
        self._total, self._total_shards = total, total_shards
        self._max_bad, self._report = max_bad, report
        self._lock = threading.Lock()
        self._start = time.perf_counter()
        self.rows = self.errors = self.shards = self.skipped = 0
        self._fresh_rows = 0

    @property
    def seconds(self) -> float:
        """How long the job has run."""
        return time.perf_counter() - self._start

    def skip(self, rows: int, errors: int) -> None:
        """Count a shard of an earlier run.

        Raises:
            BadRowsError: If too many rows are bad.
        """
        with self._lock:
            self.shards += 1
            self.skipped += 1
            self._add(rows, errors, "told in the shards of the run before")

    def add(self, rows: int, errors: int, reason: str) -> None:
        """Count rows.

        Args:
            rows: How many.
            errors: How many of them are bad.
            reason: Why the last of these is.

        Raises:
            BadRowsError: If too many rows are bad.
        """
        with self._lock:
            self._fresh_rows += rows
            self._add(rows, errors, reason)

    def finish_shard(self) -> None:
        """Count a shard of this run, whose rows were added before."""
        with self._lock:
            self.shards += 1
            self._tell()

    def _add(self, rows: int, errors: int, reason: str) -> None:
        self.rows += rows
        self.errors += errors
        if self._max_bad is not None and self.errors > self._max_bad:
            raise BadRowsError(
                f"{self.errors} of {self.rows} rows cannot be scored, more than the {self._max_bad} allowed. The last"
                f" reason: {reason}"
            )
        self._tell()

    def _tell(self) -> None:
        if self._report is None:
            return
        rate = self._fresh_rows / max(self.seconds, 1e-9)
        left = None
        if self._total is not None and rate:
            left = max(self._total - self.rows, 0) / rate
        elif self.shards > self.skipped:
            left = (self._total_shards - self.shards) * self.seconds / (self.shards - self.skipped)
        self._report(
            Progress(self.rows, self.errors, self._total, self.shards, self._total_shards, rate, left)
        )
