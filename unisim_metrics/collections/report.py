"""What a job leaves to be told. Who waits for one loads this, and nothing that the work needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CollectionReport:
    """What a finished job has done.

    Attributes:
        output: The folder of shards; a text where it is a URL.
        signature: What makes the scores.
        rows: How many rows the folder holds.
        errors: How many of them cannot be scored.
        shards: How many shards it holds.
        skipped: How many of them an earlier run had made.
        seconds: How long this run took.
    """

    output: Path | str
    signature: str
    rows: int
    errors: int
    shards: int
    skipped: int
    seconds: float
