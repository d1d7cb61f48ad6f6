"""Several processes that share the work: under torchrun, accelerate launch, or a process group of the caller's."""

from __future__ import annotations

import atexit
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

_T = TypeVar("_T")

# The slowest process may still be reading images when the fastest one is done with its share.
_PATIENCE = timedelta(hours=12)


class Processes:
    """All processes of a run, as one of them sees them. One alone is its own leader.

    Attributes:
        rank: The number of this one; 0 leads.
        count: How many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1, group: Any = None) -> None:
        self.rank = rank
        self.count = count
        self._group = group

    @property
    def is_leader(self) -> bool:
        """Whether this process judges and writes."""
        return self.rank == 0

    def lead(self, work: Callable[[], _T]) -> _T:
        """Let the leader work, and give all processes what came out, be it an error.

        Args:
            work: Is called by the leader alone. Whatever it raises is raised in all processes; of an error that
                cannot be sent the others get the text.
        """
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.is_leader:
            try:
                outcome[0] = work()
            except BaseException as error:
                # The others must not wait for more, whatever ended the work here.
                self._share([None, _sendable(error)])
                raise
        self._share(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        value: _T = outcome[0]
        return value

    def _share(self, outcome: list[Any]) -> None:
        distributed.broadcast_object_list(outcome, src=0, group=self._group)

    def collect(self, value: _T) -> list[_T]:
        """Give every process the values of all, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value, group=self._group)
        return values


def _sendable(error: BaseException) -> BaseException:
    """Return an error as it can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError, ValueError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that were started together; one that was started alone stays alone.

    What they exchange lies in ordinary memory: the group is one of gloo, beside that of the caller if there is one.
    """
    if not distributed.is_available():
        yield Processes()
        return
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
            yield Processes()
            return
        # It stays until the process ends: processes cannot meet a second time at the same address.
        distributed.init_process_group("gloo", timeout=_PATIENCE)
        atexit.register(_leave)
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
    finally:
        distributed.destroy_process_group(group)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def default_device() -> str:
    """Return where a model goes that is loaded by name: each process of a machine to an accelerator of its own."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
