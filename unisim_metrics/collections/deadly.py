"""The search for rows that kill the process that works on them: one row after the other, in processes of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from unisim_metrics.collections.apart import ProcessDied, Tell, run_apart
from unisim_metrics.collections.attempts import Attempts, Deadly
from unisim_metrics.collections.halving import is_out_of_memory
from unisim_metrics.collections.pairs import Source, read_cell
from unisim_metrics.collections.reading.planning import Shard
from unisim_metrics.collections.reading.rows import Row
from unisim_metrics.collections.scorer import UniSimScorer
from unisim_metrics.images import Preprocessing

# How often nothing may be found before a shard is given up; the first time rows are decoded, the second scored.
_MOST_FRUITLESS = 3
# Who kills by itself is to blame, and not who stood beside it: it has to do so each of these times.
_TRIALS = 2


def search_deadly(shard: Shard, scorer: UniSimScorer, attempts: Attempts) -> None:
    """Look for the rows of a shard that kill a process, among those that were in work when one died, and note them.

    Rows are read and decoded in another process; if nothing is found and a process dies again, they are scored there
    too, by a model of its own. A row is to blame if it kills a process that does nothing else, twice.

    Args:
        shard: The shard.
        scorer: What scores it.
        attempts: The attempts at it.

    Raises:
        ChildProcessError: If processes die of it again and again, and no row is to blame.
    """
    known = attempts.deadly
    fruitless = known.fruitless if known.run == attempts.run else 0
    if fruitless >= _MOST_FRUITLESS:
        raise ChildProcessError(
            f"The process that scores {shard.file_name} has died {fruitless + 1} times, and no row of it is to blame."
            f" It begins with {shard.names[0]!r}. The system may have ended it for its memory: take fewer devices,"
            " processes or rows at a time."
        )
    found = known
    if fruitless < 2:
        work: _Decoding | _Scoring = _Scoring(scorer.replaced(keep_columns=False))
        if fruitless == 0:
            work = _Decoding(shard.wanted.scored, scorer.preparation)
        try:
            found = _Search(shard, work, scorer.rows_at_a_time).run(known, *attempts.suspects())
        except RuntimeError as error:
            if not is_out_of_memory(error):  # no room for a second model tells nothing of the rows
                raise
    fruitless = fruitless + 1 if found == known else 0
    attempts.settle(replace(found, fruitless=fruitless, run=attempts.run))


@dataclass(frozen=True)
class _Decoding:
    """Reads the cells of a row as a scorer does, without its model."""

    sources: tuple[Source, ...]
    preparation: Preprocessing | None
    name = "reading"

    def prepare(self) -> None:
        """Nothing is needed."""

    def __call__(self, row: Row) -> None:
        for source in self.sources:
            if source.column is not None:
                read_cell(row[source.column], source.modality, source.column, self.preparation)


@dataclass(frozen=True)
class _Scoring:
    """Scores a row by itself."""

    scorer: UniSimScorer
    name = "scoring"

    def prepare(self) -> None:
        """Load the model: what that costs is no row's fault."""
        _ = self.scorer.model

    def __call__(self, row: Row) -> None:
        self.scorer({name: [row[name]] for name in self.scorer.needed_columns})


@dataclass(frozen=True)
class _Search:
    """Goes through the rows of a shard in another process, and on behind each that kills it."""

    shard: Shard
    work: _Decoding | _Scoring
    size: int

    def run(self, known: Deadly, first: int, last: int | None) -> Deadly:
        """Return what is known, and what is found from a row on, up to another."""
        rows = dict(known.rows)
        if known.end is not None:
            last = known.end if last is None else min(last, known.end)
        while True:
            death = self._walk(first, last, frozenset(rows))
            if death is None or death.row is None:
                return replace(known, rows=rows)
            trials = (self._walk(death.row, death.row + 1, frozenset()) for _ in range(_TRIALS))
            if all(trial is not None and trial.place == death.place for trial in trials):
                if not death.is_got:
                    reason = f"the process died while reading it: {death.how}."
                    return replace(known, rows=rows, end=death.row, reason=reason)
                rows[death.row] = f"The process died while {self.work.name} it: {death.how}."
            first = max(first, death.row) + 1

    def _walk(self, first: int, last: int | None, passed_over: frozenset[int]) -> _Death | None:
        """Go through rows in another process; how and where it died, if it did."""
        place: list[tuple[int, bool]] = []

        def hear(told: tuple[int, bool]) -> None:
            place[:] = [told]

        try:
            run_apart(partial(_walk, self.shard, self.work, self.size, first, last, passed_over), hear)
        except ProcessDied as death:
            if death.was_asked:
                raise
            return _Death(death.how, place[0] if place else None)
        return None


@dataclass(frozen=True)
class _Death:
    """How a process died, and at which row, which it had to get or had got from the file; None before the first."""

    how: str
    place: tuple[int, bool] | None

    @property
    def row(self) -> int | None:
        return None if self.place is None else self.place[0]

    @property
    def is_got(self) -> bool:
        return self.place is not None and self.place[1]


def _walk(
    shard: Shard,
    work: _Decoding | _Scoring,
    size: int,
    first: int,
    last: int | None,
    passed_over: frozenset[int],
    tell: Tell,
) -> None:
    """Work on rows one by one, and tell of each that it is to be got, and that it is to be worked on."""
    work.prepare()
    rows = iter(shard.rows(size))
    place = 0
    while last is None or place < last:
        tell((place, False))
        row = next(rows, None)
        if row is None:
            return
        if place >= first and place not in passed_over:
            tell((place, True))
            work(row)
        place += 1
