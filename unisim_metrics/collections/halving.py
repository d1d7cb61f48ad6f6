"""Work on rows that is tried again on halves: where a batch does not fit the memory, or one of its rows is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch

from unisim_metrics.collections.cells import Unreadable

_Row = TypeVar("_Row")
_Result = TypeVar("_Result")

# Where torch has no class for it: its allocator on the CPU, MPS, cuBLAS.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device has no memory left."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


class Halving(Generic[_Row, _Result]):
    """Maps batches to results; a batch that cannot be worked on as a whole is cut in two, down to single rows.

    What did not fit the memory once is cut at once from then on.

    Args:
        work: Gives one result a row. Where it raises a `ValueError` or `TypeError`, a row is to blame; where memory is
            short, their number is; any other error is the caller's.
    """

    def __init__(self, work: Callable[[Sequence[_Row]], Sequence[_Result]]) -> None:
        self._work = work
        self._most: int | None = None

    def __call__(self, rows: Sequence[_Row]) -> list[_Result | Unreadable]:
        """One result a row, or why there is none."""
        if not rows:
            return []
        if self._most is not None and len(rows) > self._most:
            pieces = (rows[start : start + self._most] for start in range(0, len(rows), self._most))
            return [result for piece in pieces for result in self(piece)]
        reason = self._try(rows)
        if not isinstance(reason, str):
            return list(reason)
        # Outside of the `except`, whose traceback would hold what the try has put into memory.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(rows) == 1:
            return [Unreadable(reason)]
        middle = (len(rows) + 1) // 2
        return self(rows[:middle]) + self(rows[middle:])

    def _try(self, rows: Sequence[_Row]) -> Sequence[_Result] | str:
        try:
            return self._work(rows)
        except (ValueError, TypeError, RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self._most = max(1, len(rows) // 2)
                return f"It does not fit the device's memory by itself: {error}"
            if not isinstance(error, ValueError | TypeError):
                raise
            return str(error)
