"""Tasks on several threads."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.images import Preprocessing, preprocess
from unisim_metrics.images.threads import run_tasks, usable_cores


class Meeting:
    """A task that returns only once `parties` of it run at the same time, and tells its thread."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties)

    def __call__(self) -> int:
        self.barrier.wait(timeout=30)
        return threading.get_ident()


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_results_are_in_order(count: int, threads: int) -> None:
    assert run_tasks([partial(pow, base, 2) for base in range(count)], threads) == [
        base**2 for base in range(count)
    ]


def test_the_caller_works_beside_its_helpers() -> None:
    threads = run_tasks([Meeting(3)] * 3, 3)
    assert len(set(threads)) == 3
    assert threading.get_ident() in threads


def test_helpers_last() -> None:
    run_tasks([Meeting(2)] * 2, 2)
    living = {thread.ident for thread in threading.enumerate()}
    for _ in range(5):
        assert set(run_tasks([Meeting(2)] * 2, 2)) <= living


def test_one_thread_is_the_callers() -> None:
    assert set(run_tasks([threading.get_ident] * 4, 1)) == {threading.get_ident()}


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_in_order_is_raised_and_no_further_task_begins(threads: int) -> None:
    begun: list[int] = []
    second_failed = threading.Event()

    def task(index: int) -> int:
        begun.append(index)
        if index == 1:
            if threads > 1:
                second_failed.wait(timeout=30)
            raise ValueError("first")
        if index == 2:
            second_failed.set()
            raise KeyError("second")
        return index

    with pytest.raises(ValueError, match="first"):
        run_tasks([partial(task, index) for index in range(50)], threads)
    assert len(begun) < 10
    assert run_tasks([partial(pow, 2, 3)] * 4, threads) == [8] * 4


def test_tasks_run_tasks() -> None:
    def outer(index: int) -> int:
        return sum(run_tasks([partial(pow, index, 1)] * 4, 4))

    # More at a time than there are helpers: whoever waits works on its own tasks.
    assert run_tasks([partial(outer, index) for index in range(60)], 16) == [4 * index for index in range(60)]


def test_callers_in_many_threads() -> None:
    results: dict[int, list[int]] = {}

    def caller(name: int) -> None:
        results[name] = run_tasks([partial(pow, name, 1)] * 20, 4)

    callers = [threading.Thread(target=caller, args=(name,)) for name in range(20)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(timeout=60)
    assert results == {name: [name] * 20 for name in range(20)}


def _in_child(work: Callable[[], object]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(timeout=60)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="fork is not offered here")
def test_a_forked_process_starts_helpers_of_its_own() -> None:
    def work() -> None:
        assert len(set(run_tasks([Meeting(2)] * 2, 2))) == 2

    work()
    assert _in_child(work) == 0


@pytest.fixture
def pictures(tmp_path: Path) -> list[Tensor | Image.Image | Path]:
    """Enough work for several threads, of every kind, some of it twice."""
    planar = torch.randint(0, 256, (7, 3, 500, 400), dtype=torch.uint8)
    image = Image.fromarray(planar[0].permute(1, 2, 0).numpy())
    files = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for file in files:
        image.save(file)
    interleaved = planar.flip(-1).contiguous(memory_format=torch.channels_last)
    return [planar, image, *files, interleaved, image, files[0], planar[2], planar[:1, :1] / 255]


def test_images_do_not_depend_on_the_number_of_threads(
    pictures: list[Tensor | Image.Image | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        batches.append(preprocess(pictures, Preprocessing(size=64)))
    assert torch.equal(batches[0], batches[1]) and torch.equal(batches[0], batches[2])
    assert len(batches[0]) == 7 + 3 + 7 + 4


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="fork is not offered here")
def test_images_are_prepared_in_a_forked_process(
    pictures: list[Tensor | Image.Image | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    expected = preprocess(pictures[:-1], Preprocessing(size=64)).numpy()

    def work() -> None:
        # Compared by NumPy: torch's own threads did not survive the fork, and it would wait for them.
        assert (preprocess(pictures[:-1], Preprocessing(size=64)).numpy() == expected).all()

    assert _in_child(work) == 0


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system does not say which cores are allowed"
)
@pytest.mark.parametrize(
    ("allowed", "processes", "cores"),
    [
        (1, None, 1),
        (2, "", 2),
        (6, "1", 6),
        (6, "4", 1),
        (2, "8", 1),
        (64, None, 16),
        (64, "2", 16),
        (64, "8", 8),
    ],
)
def test_usable_cores(
    allowed: int, processes: str | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)  # as torchrun and `accelerate launch` do
    assert usable_cores() == cores
