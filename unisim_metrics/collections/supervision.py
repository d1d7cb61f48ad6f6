"""A job in a process of its own, which another takes the place of where a row kills it.

Who waits for it does nothing else: neither torch nor pyarrow is imported here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from unisim_metrics.collections.apart import ProcessDied, Tell, run_apart
from unisim_metrics.collections.attempts import has_died
from unisim_metrics.collections.folders import Folder

_T = TypeVar("_T")


def run_supervised(job: Callable[[str, Tell], _T], output: Folder, hear: Tell) -> _T:
    """Run a job in a process of its own, and again where that dies over a shard: the next one knows what it died of.

    Args:
        job: The job; it can be pickled. It takes the name of this run, the same each time, and what it tells to.
        output: The folder that it writes to.
        hear: Is called with what it tells.

    Returns:
        What it returns.

    Raises:
        ProcessDied: If the process dies before it has begun a shard, or because somebody asked it to.
        BaseException: What the job raises, such as that it dies of one shard again and again.
    """
    run = uuid.uuid4().hex
    while True:
        try:
            return run_apart(partial(job, run), hear)
        except ProcessDied as death:
            if death.was_asked or not has_died(output):
                raise
