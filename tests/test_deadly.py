"""The search for rows that kill the process which works on them, over rows that do so in every way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from collection_files import encoded, leave_mark
from torch import Tensor, nn

from unisim_metrics import UniSimScorer, load_model
from unisim_metrics.collections.apart import ProcessDied
from unisim_metrics.collections.attempts import Attempts, Deadly
from unisim_metrics.collections.deadly import search_deadly
from unisim_metrics.collections.folders import open_folder
from unisim_metrics.collections.reading.planning import Shard
from unisim_metrics.collections.reading.rows import Row, Wanted
from unisim_metrics.images import Preprocessing, decode_image, preprocess
from unisim_metrics.models import EncoderModel

COUNT = 12


@dataclass(frozen=True)
class Trap(os.PathLike):
    """The path of an image, whose reading does something."""

    what: Any

    def __fspath__(self) -> str:
        self.what()
        return "nothing.png"


@dataclass(frozen=True)
class Kill:
    number: int = signal.SIGKILL

    def __call__(self) -> None:
        os.kill(os.getpid(), self.number)
        time.sleep(60)


@dataclass(frozen=True)
class Leave:
    status: int

    def __call__(self) -> None:
        os._exit(self.status)


worked_on: list[object] = []


@dataclass(frozen=True)
class KillBehindOthers:
    """Kills a process that has done something else before."""

    def __call__(self) -> None:
        if worked_on:
            Kill()()


@dataclass(frozen=True)
class Remember:
    def __call__(self) -> None:
        worked_on.append(self)


@dataclass(frozen=True)
class KillOnce:
    """Kills the first process that comes by."""

    mark: Path

    def __call__(self) -> None:
        if not self.mark.exists():
            self.mark.touch()
            Kill()()


@dataclass(frozen=True)
class Traps(Shard):
    """Rows with traps at some places, and some that cannot be got."""

    traps: dict[int, Any] = field(default_factory=dict)
    unreachable: int | None = None
    images: Sequence[bytes] = tuple(encoded(1) * COUNT)

    def rows(self, size: int) -> Iterator[Row]:
        for place, image in enumerate(self.images):
            if place == self.unreachable:
                Leave(5)()
            what = self.traps.get(place)
            yield self.wanted.row("a.tar", str(place), {"image": image if what is None else Trap(what)})


def search(
    folder: Path, scorer: UniSimScorer, traps: dict[int, Any], *, died: int = 1, **settings: Any
) -> Deadly:
    """Search a shard with traps, after a process has died with some rows in work."""
    shard = Traps(0, ("a.tar",), Wanted(scorer.sources), traps=traps, **settings)
    folder.mkdir(exist_ok=True)
    attempts = Attempts(open_folder(folder), 0, "now")
    for _ in range(died):
        leave_mark(attempts, COUNT + 4, asked=1)
    search_deadly(shard, scorer, attempts)
    assert attempts.died == 0
    return attempts.deadly


@pytest.fixture
def scorer(tiny_model: EncoderModel) -> UniSimScorer:
    return UniSimScorer(tiny_model, batch_size=4)


@pytest.mark.parametrize(
    ("traps", "reasons"),
    [
        ({0: Kill()}, {0: "SIGKILL"}),
        ({COUNT - 1: Kill(signal.SIGSEGV)}, {COUNT - 1: "SIGSEGV"}),
        (
            {3: Leave(0), 4: Leave(7), 9: Kill(signal.SIGABRT)},
            {3: "exit status 0", 4: "exit status 7", 9: "SIGABRT"},
        ),
    ],
)
def test_the_rows_to_blame_are_found(
    traps: dict[int, Any], reasons: dict[int, str], scorer: UniSimScorer, tmp_path: Path
) -> None:
    found = search(tmp_path, scorer, traps)
    assert found.rows == {row: f"The process died while reading it: {how}." for row, how in reasons.items()}
    assert (found.end, found.fruitless) == (None, 0)


@pytest.mark.parametrize("unreachable", [0, 5])
def test_what_cannot_be_got_ends_the_shard(unreachable: int, scorer: UniSimScorer, tmp_path: Path) -> None:
    found = search(tmp_path, scorer, {2: Kill(), 7: Kill()}, unreachable=unreachable)
    assert list(found.rows) == [2][: unreachable // 2]
    assert (found.end, found.reason) == (unreachable, "the process died while reading it: exit status 5.")
    shard = Traps(0, ("a.tar",), Wanted(scorer.sources), traps={2: Kill()}, unreachable=unreachable)
    (batch,) = shard.batches(20, found)
    scored = scorer.replaced(keep_columns=False)(batch)
    assert len(scored["unisim_error"]) == unreachable + 1
    assert scored["unisim_error"][-1].startswith(
        f"a.tar cannot be read from row {unreachable} on: the process died"
    )
    assert sum(map(bool, scored["unisim_error"])) == len(found.rows) + 1


def test_who_kills_in_company_alone_or_once_is_not_to_blame(scorer: UniSimScorer, tmp_path: Path) -> None:
    traps = {1: Remember(), 3: KillBehindOthers(), 6: KillOnce(tmp_path / "mark"), 8: Kill()}
    assert list(search(tmp_path / "work", scorer, traps).rows) == [8]


def test_a_process_that_is_asked_to_end_is_no_proof(scorer: UniSimScorer, tmp_path: Path) -> None:
    with pytest.raises(ProcessDied, match="SIGTERM"):
        search(tmp_path, scorer, {2: Kill(signal.SIGTERM)})


def test_rows_that_were_done_are_not_suspect(scorer: UniSimScorer, tmp_path: Path) -> None:
    attempts = Attempts(open_folder(tmp_path), 0, "now")
    leave_mark(attempts, asked=2, done=4)
    shard = Traps(0, ("a.tar",), Wanted(scorer.sources), traps={3: Kill(), 5: Kill(), 8: Kill()})
    search_deadly(shard, scorer, attempts)
    assert list(attempts.deadly.rows) == [5]


class Touchy(nn.Module):
    """A user's module that dies of one image, once it is told of it."""

    def __init__(self, worst: Tensor) -> None:
        super().__init__()
        self.register_buffer("worst", worst)
        self.weights = nn.Parameter(torch.eye(3 * 16 * 16, 8))

    def encode_image(self, pixels: Tensor) -> Tensor:
        if (pixels == self.worst).flatten(1).all(1).any():
            Kill(signal.SIGBUS)()
        return pixels.flatten(1) @ self.weights

    def encode_text(self, lengths: Tensor) -> Tensor:
        return lengths @ self.weights[:1]


def lengths_of(texts: list[str]) -> Tensor:
    return torch.tensor([[float(len(text))] for text in texts])


def test_a_row_that_kills_the_model_is_found_at_the_second_death(tmp_path: Path) -> None:
    size = Preprocessing(size=16)
    files = encoded(4)
    worst = preprocess([decode_image(files[2])], size)[0]
    model = load_model(Touchy(worst), tokenizer=lengths_of, preprocessing=size)
    scorer = UniSimScorer(model, batch_size=4, device="cpu")
    shard = Traps(0, ("a.tar",), Wanted(scorer.sources), images=tuple(files))
    for found in ({}, {2: "The process died while scoring it: SIGBUS."}):
        attempts = Attempts(open_folder(tmp_path), 0, "now")
        leave_mark(attempts, 4, asked=1)
        search_deadly(shard, scorer, attempts)
        assert attempts.deadly.rows == found


def test_a_shard_that_nothing_is_found_in_is_given_up(scorer: UniSimScorer, tmp_path: Path) -> None:
    for fruitless in (1, 2, 3):
        assert search(tmp_path, scorer, {}).fruitless == fruitless
    with pytest.raises(ChildProcessError, match=r"part-00000\.parquet has died 4 times.*'a\.tar'"):
        search(tmp_path, scorer, {})
    # Another run begins anew: those before may have been ended by somebody.
    shard = Traps(0, ("a.tar",), Wanted(scorer.sources))
    later = Attempts(open_folder(tmp_path), 0, "later")
    search_deadly(shard, scorer, later)
    assert later.deadly.fruitless == 1
