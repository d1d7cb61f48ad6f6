"""Short tasks on several threads: the caller's own, and helpers that wait from one call to the next."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["MAX_THREADS", "run_tasks"]

_T = TypeVar("_T")

MAX_THREADS = 16
"""How many threads a call uses at most, its own included."""

_helpers: ThreadPoolExecutor | None = None


def run_tasks(tasks: Sequence[Callable[[], _T]], threads: int) -> list[_T]:
    """Runs the tasks on up to ``threads`` threads and returns their results in order.

    The caller works too, and whoever is free takes the next task: a call waits for no thread to start, nor
    for one that shares its core with another. Tasks may run tasks.

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


def _pool() -> ThreadPoolExecutor:
    """The helpers, of whom as many start as are needed at a time."""
    global _helpers
    if _helpers is None:
        _helpers = ThreadPoolExecutor(MAX_THREADS - 1, thread_name_prefix="unisim-metrics")
    return _helpers


def _forget_helpers() -> None:
    """A forked process has none of its parent's threads: it starts its own."""
    global _helpers
    _helpers = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
