"""Times that can be compared on a shared machine: candidates take turns, and their medians are divided."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["medians"]


def medians(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each candidate.

    All run in turn, in every round in another order, after one warm-up.

    Args:
        candidates: What is timed. A candidate must wait for what it started on an accelerator.
        rounds: How often each runs.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for index in range(rounds + 1):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            start = time.perf_counter()
            candidates[name]()
            if index > 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
