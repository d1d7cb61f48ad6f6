"""What ends the leader's work ends that of all processes, whatever it is."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from torch import distributed
from two_processes import run_in_two

from unisim_metrics.benchmark.running.processes import Processes, join_processes


class Unsendable(ValueError):
    """Cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Picky(ValueError):
    """Can be pickled, and not be made anew."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class Ended(BaseException):
    """As an interrupt ends a program: no `Exception`."""


ERRORS = {
    "plain": KeyError("gone"),
    "unsendable": Unsendable("locked"),
    "picky": Picky("so", "so"),
    "ended": Ended("stop"),
}


def work_together(rank: int, port: int, out: Path) -> None:
    distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", world_size=2, rank=rank, timeout=timedelta(seconds=60)
    )
    lines = []
    with join_processes() as processes:
        for name, error in ERRORS.items():

            def fail(error: BaseException = error) -> None:
                raise error

            try:
                processes.lead(fail)
            except BaseException as raised:
                lines.append(f"{name} {type(raised).__name__} {raised}")
        lines.append(f"then {processes.lead(lambda: 5)}")
    (out / str(rank)).write_text("\n".join(lines), encoding="utf-8")
    distributed.barrier()
    distributed.destroy_process_group()  # or its threads may abort the process as it ends


def test_all_processes_end_as_the_leader_does(tmp_path: Path) -> None:
    run_in_two(work_together, tmp_path)
    leader, other = ((tmp_path / name).read_text(encoding="utf-8").splitlines() for name in "01")
    assert leader == [
        "plain KeyError 'gone'",
        "unsendable Unsendable locked",
        "picky Picky so so",
        "ended Ended stop",
        "then 5",
    ]
    assert other == [
        "plain KeyError 'gone'",
        "unsendable RuntimeError Unsendable: locked",
        "picky RuntimeError Picky: so so",
        "ended Ended stop",
        "then 5",
    ]


def test_one_process_alone_is_its_own_leader() -> None:
    assert Processes().lead(lambda: 3) == 3
    with pytest.raises(Unsendable):
        Processes().lead(lambda: (_ for _ in ()).throw(Unsendable("locked")))
