"""The shards of a collection on this machine: one stream a device."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from unisim_metrics.collections.output import OutputFolder
from unisim_metrics.collections.progress import Tally
from unisim_metrics.collections.reading.planning import Shard
from unisim_metrics.collections.scorer import UniSimScorer
from unisim_metrics.collections.writing import open_shards, write_shards


def run_local(
    shards: Iterator[Shard], scorers: Sequence[UniSimScorer], folder: OutputFolder, tally: Tally
) -> None:
    """Score shards, one thread a scorer; the first error ends all.

    Args:
        shards: The shards, those that are complete among them.
        scorers: One for each device.
        folder: Where they are written.
        tally: Counts what is done.

    Raises:
        BadRowsError: If the tally says that too much is bad.
    """
    left = open_shards(shards, folder, tally)
    lock, stop = threading.Lock(), threading.Event()

    def share() -> Iterator[Shard]:
        while not stop.is_set():
            with lock:
                shard = next(left, None)
            if shard is None:
                return
            yield shard

    def work(scorer: UniSimScorer) -> None:
        try:
            write_shards(scorer, share(), folder, tally)
        finally:
            stop.set()

    if len(scorers) == 1:
        work(scorers[0])
        return
    with ThreadPoolExecutor(len(scorers), thread_name_prefix="unisim-device") as pool:
        for done in [pool.submit(work, scorer) for scorer in scorers]:
            done.result()
