"""A job in a process of its own, which another takes the place of where a row kills it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from unisim_metrics.collections.apart import ProcessDied, Tell, run_apart
from unisim_metrics.collections.output import has_died

_T = TypeVar("_T")


def run_supervised(job: Callable[[Tell], _T], output: Path, hear: Tell) -> _T:
    """Run a job in a process of its own, and again where that dies over a shard: the next one knows what it died of.

    Args:
        job: The job; it can be pickled.
        output: The folder that it writes to.
        hear: Is called with what it tells.

    Returns:
        What it returns.

    Raises:
        ProcessDied: If the process dies before it has begun a shard, or because somebody asked it to.
        BaseException: What the job raises, such as that it dies of one shard again and again.
    """
    while True:
        try:
            return run_apart(job, hear)
        except ProcessDied as death:
            if death.was_asked or not has_died(output):
                raise
