"""Requests that come one at a time, from any thread or event loop, answered in batches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class _Batch(Generic[Request, Answer]):
    """Requests that will be answered together."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.size = 0
        self.full = threading.Event()
        self.answers: Future[list[Answer | ValueError | TypeError]]


class Batcher(Generic[Request, Answer]):
    """Answers requests in batches, one batch at a time, in a thread of its own.

    A batch waits for the one before it and then a moment more, so batches grow with the load. It belongs to no event
    loop: requests of several loops share batches.

    Args:
        answer: Answers a batch of requests; the answer to a wrong one may be its error. Where it raises a ValueError
            or TypeError, each request is asked anew by itself, so that a wrong one fails alone.
        size: The most requests of a batch.
        wait: For how many seconds a batch that is not full waits for more.
        size_of: As how many requests one counts, at most `size`; each as one if None.

    Raises:
        ValueError: If `size` is less than 1, or `wait` negative.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Request]], Sequence[Answer | ValueError | TypeError]],
        size: int,
        wait: float,
        size_of: Callable[[Request], int] | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"Argument `size` must be at least 1, but got {size}.")
        if wait < 0:
            raise ValueError(f"Argument `wait` must be seconds, at least 0, but got {wait}.")
        self._answer = answer
        self._size = size
        self._wait = wait
        self._size_of = size_of
        self._lock = threading.Lock()
        self._open: _Batch[Request, Answer] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="unisim-batches")

    async def ask(self, request: Request) -> Answer:
        """The answer to one request, or its error."""
        (answer,) = await self.ask_all([request])
        if isinstance(answer, ValueError | TypeError):
            raise answer
        return answer

    async def ask_all(self, requests: Sequence[Request]) -> list[Answer | ValueError | TypeError]:
        """The answers to several requests, which may share batches or not; that to a wrong one is its error."""
        places = [self._join(request) for request in requests]
        # A caller that gives up takes no neighbour with it.
        answers = {
            batch: await asyncio.shield(asyncio.wrap_future(batch.answers))
            for batch in dict.fromkeys(batch for batch, _ in places)
        }
        return [answers[batch][place] for batch, place in places]

    def _join(self, request: Request) -> tuple[_Batch[Request, Answer], int]:
        size = 1 if self._size_of is None else self._size_of(request)
        with self._lock:
            batch = self._open
            if batch is not None and batch.size + size > self._size:
                batch.full.set()
                batch = None
            if batch is None:
                batch = self._open = _Batch()
                batch.answers = self._thread.submit(self._run, batch)
            batch.requests.append(request)
            batch.size += size
            place = len(batch.requests) - 1
            if batch.size >= self._size:
                batch.full.set()
                self._open = None
        return batch, place

    def _run(self, batch: _Batch[Request, Answer]) -> list[Answer | ValueError | TypeError]:
        batch.full.wait(self._wait)
        with self._lock:
            if self._open is batch:
                self._open = None
        try:
            return list(self._answer(batch.requests))
        except (ValueError, TypeError) as error:
            if len(batch.requests) == 1:
                return [error]
        return [self._alone(request) for request in batch.requests]

    def _alone(self, request: Request) -> Answer | ValueError | TypeError:
        try:
            return self._answer([request])[0]
        except (ValueError, TypeError) as error:
            return error
