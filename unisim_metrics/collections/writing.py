"""From shards to files of the output: what every engine does with the shards that it is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Protocol

from unisim_metrics.collections.attempts import Attempt
from unisim_metrics.collections.deadly import search_deadly
from unisim_metrics.collections.output import OutputFolder, Written
from unisim_metrics.collections.progress import Tally
from unisim_metrics.collections.reading.planning import Shard
from unisim_metrics.collections.scorer import ERROR, UniSimScorer
from unisim_metrics.images.threads import MAX_THREADS, ahead

# Shards that are looked for together.
_FOUND_AT_A_TIME = 32


class Counter(Protocol):
    """Is told what is done, as `Tally` is."""

    def add(self, rows: int, errors: int, reason: str) -> None:
        """Count rows, how many of them are bad, and why the last of these is."""

    def finish_shard(self) -> None:
        """Count a shard whose rows were added before."""


def open_shards(shards: Iterator[Shard], folder: OutputFolder, tally: Tally) -> Iterator[Shard]:
    """Yield the shards that are not complete yet, and count the others."""
    there = folder.names()

    def find(shard: Shard) -> Written | None:
        return folder.find(shard) if shard.file_name in there else None

    # A store takes its time for each of what may be many.
    for few, found in ahead(_by(shards, _FOUND_AT_A_TIME), find, MAX_THREADS if folder.is_stored else 0):
        for shard, written in zip(few, found, strict=True):
            if written is None:
                yield shard
            else:
                tally.skip(written.rows, written.errors)


def _by(shards: Iterator[Shard], count: int) -> Iterator[list[Shard]]:
    while few := list(islice(shards, count)):
        yield few


def write_shards(
    scorer: UniSimScorer, shards: Iterator[Shard], folder: OutputFolder, counter: Counter
) -> None:
    """Score shards in one stream: a shard is decoded while the last rows of the one before are scored.

    What is known to kill the process is passed over; where one has died of a shard, that is looked for first.

    Args:
        scorer: Scores their batches.
        shards: The shards.
        folder: Where they are written.
        counter: Is told what is done.

    Raises:
        ChildProcessError: If processes die of a shard again and again, and no row is to blame.
    """
    coming: deque[tuple[Shard, bool]] = deque()
    under_way: deque[Attempt] = deque()

    def batches() -> Iterator[Any]:
        for shard in shards:
            attempts = folder.attempts(shard)
            if attempts.calls_for_search:
                search_deadly(shard, scorer, attempts)
            under_way.append(attempts.begin())
            size = scorer.rows_at_a_time
            left = under_way[-1].watch(shard.batches(size, attempts.deadly), size)
            batch = next(left)
            for following in left:
                coming.append((shard, False))
                yield batch
                batch = following
            coming.append((shard, True))
            yield batch

    try:
        with closing(scorer.stream(batches())) as results:
            for result in results:
                shard, is_last = coming.popleft()
                with folder.write(shard) as writer:
                    while True:
                        writer.add(result)
                        under_way[0].finish(len(result[ERROR]))
                        reasons = [reason for reason in result[ERROR] if reason]
                        counter.add(len(result[ERROR]), len(reasons), reasons[-1] if reasons else "")
                        if is_last:
                            break
                        result = next(results)
                        _, is_last = coming.popleft()
                    writer.finish()
                under_way.popleft().end()
                folder.attempts(shard).forget()
                counter.finish_shard()
    finally:
        for attempt in under_way:
            attempt.end()
