"""Work on several threads: tasks of one call, and batches that are made ready ahead of their use."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

_T = TypeVar("_T")
_R = TypeVar("_R")

MAX_THREADS = 16
"""How many threads a call uses at most, its own included."""

# Batches that are worked on at a time, the one in use among them.
_AHEAD = 3

_helpers: ThreadPoolExecutor | None = None
_is_forked = False


def usable_cores() -> int:
    """How many threads are worth starting here, at least 1.

    Containers and schedulers allow fewer cores than there are, and processes that torchrun or `accelerate launch`
    started on this machine share them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    return max(1, min(allowed // processes, MAX_THREADS))


def leave_threads_to_the_parent() -> None:
    """Let torch work on one thread where this process was forked from one that may have worked on several.

    OpenMP would wait for those threads for ever, since a fork has none of them. A fork server has not worked. It is
    done once a process, which may ask torch for more threads afterwards.
    """
    global _is_forked
    if not _is_forked:
        return
    _is_forked = False
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid == os.getppid():
        torch.set_num_threads(1)


def run_tasks(tasks: Sequence[Callable[[], _T]], threads: int) -> list[_T]:
    """Runs the tasks on up to ``threads`` threads and returns their results in order.

    The caller works too, beside helpers that wait from one call to the next, and whoever is free takes the next
    task: a call waits for no thread to start, nor for one that shares its core with another. Tasks may run tasks.

    Raises:
        BaseException: What the first task, in order, that failed raised. Tasks after it may not have run.
    """
    threads = min(threads, len(tasks), MAX_THREADS)
    if threads <= 1:
        return [task() for task in tasks]
    waiting = deque(enumerate(tasks))
    results: dict[int, _T] = {}
    errors: dict[int, BaseException] = {}

    def work() -> None:
        while waiting:
            try:
                index, task = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                results[index] = task()
            except BaseException as error:  # raised below, on the caller's thread
                errors[index] = error
                waiting.clear()

    futures = [_pool().submit(work) for _ in range(threads - 1)]
    work()
    for future in futures:
        if not future.cancel():  # one that has not begun finds nothing to do
            future.result()
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(tasks))]


def ahead(
    batches: Iterable[Sequence[_T]], work: Callable[[_T], _R], workers: int
) -> Iterator[tuple[Sequence[_T], list[_R]]]:
    """Work on the items of batches in threads, a few batches ahead of the one in use, and yield them in order.

    Threads are enough, and cheaper than processes: decoders and resizing leave Python to itself.

    Args:
        batches: The items.
        work: What is done with each.
        workers: How many threads; 0 to work on the calling thread, when a batch is asked for.
    """
    if workers == 0:
        for batch in batches:
            yield batch, [work(item) for item in batch]
        return
    waiting: deque[tuple[Sequence[_T], list[Future[_R]]]] = deque()
    left = iter(batches)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    try:
        while True:
            for batch in islice(left, _AHEAD - len(waiting)):
                waiting.append((batch, [pool.submit(work, item) for item in batch]))
            if not waiting:
                return
            batch, futures = waiting.popleft()
            yield batch, [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _pool() -> ThreadPoolExecutor:
    """The helpers, of whom as many start as are needed at a time."""
    global _helpers
    if _helpers is None:
        _helpers = ThreadPoolExecutor(MAX_THREADS - 1, thread_name_prefix="unisim-metrics")
    return _helpers


def _begin_in_fork() -> None:
    """A forked process has none of its parent's threads: it starts its own."""
    global _helpers, _is_forked
    _helpers, _is_forked = None, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_fork)
