"""Times that can be compared on a shared machine: candidates take turns, and their medians are divided."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["medians"]


def medians(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each candidate.

    All run in turn, after one warm-up, in every round in another random order: what a candidate leaves behind, warm
    caches or threads that still wait for work, falls to each of the others alike.

    Args:
        candidates: What is timed. A candidate must wait for what it started on an accelerator.
        rounds: How often each runs.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    order = random.Random(0)
    for index in range(rounds + 1):
        for name in order.sample(list(candidates), len(candidates)):
            start = time.perf_counter()
            candidates[name]()
            if index > 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}
