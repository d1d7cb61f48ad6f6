"""What the marks of attempts at a shard tell whoever takes it up next."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from collection_files import leave_mark
from hypothesis import given
from hypothesis import strategies as st

from unisim_metrics.collections.attempts import NOTHING, Attempts, Deadly, has_died
from unisim_metrics.collections.folders import WORK, open_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / WORK).mkdir()
    return tmp_path / WORK


def test_an_attempt_that_ends_leaves_nothing(folder: Path) -> None:
    attempts = Attempts(open_folder(folder), 2, "now")
    attempt = attempts.begin()
    assert attempts.died == 1 and has_died(open_folder(folder.parent))
    assert list(attempt.watch(iter("abc"), 10)) == ["a", "b", "c"]
    attempt.finish(10)
    attempt.end()
    assert (attempts.died, attempts.calls_for_search, has_died(open_folder(folder.parent))) == (
        0,
        False,
        False,
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "now", "calls"),
    [(0, 0, False), (2, 0, False), (0, 1, True), (2, 1, True), (3, 0, True), (9, 0, True)],
)
def test_one_death_of_this_run_calls_for_a_search_and_of_others_it_takes_three(
    before: int, now: int, calls: bool, folder: Path
) -> None:
    for _ in range(before):
        leave_mark(Attempts(open_folder(folder), 2, "before"))
    for _ in range(now):
        leave_mark(Attempts(open_folder(folder), 2, "now"))
    assert Attempts(open_folder(folder), 2, "now").calls_for_search is calls
    assert not Attempts(open_folder(folder), 20, "now").calls_for_search


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 80)), min_size=1, max_size=3))
def test_the_suspects_are_the_rows_that_were_in_work(spans: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        attempts = Attempts(open_folder(Path(name)), 0, "now")
        for asked, done in spans:
            leave_mark(attempts, 4, asked, done)
        assert attempts.suspects() == (min(done for _, done in spans), max(4 * asked for asked, _ in spans))


@pytest.mark.parametrize("content", [b"", b"          12", b"\0" * 26])
def test_of_a_mark_that_was_lost_all_rows_are_suspect(content: bytes, folder: Path) -> None:
    attempts = Attempts(open_folder(folder), 0, "now")
    leave_mark(attempts, asked=3, done=4)
    (mark,) = folder.iterdir()
    mark.write_bytes(content)
    assert attempts.suspects() == (0, None)


def test_what_was_found_stands_in_the_place_of_the_marks(folder: Path) -> None:
    attempts, others = Attempts(open_folder(folder), 2, "now"), Attempts(open_folder(folder), 3, "now")
    assert attempts.deadly == NOTHING
    leave_mark(attempts)
    leave_mark(others)
    found = Deadly({7: "“it” died", 12: "again"}, 40, "no way on", 1, "now")
    attempts.settle(found)
    assert (attempts.died, others.died) == (0, 1)
    assert Attempts(open_folder(folder), 2, "later").deadly == found and others.deadly == NOTHING
    attempts.forget()
    assert attempts.deadly == NOTHING and others.died == 1
