"""Where this process stands among those of a distributed run, and what they tell each other."""

from __future__ import annotations

from typing import TypeVar

from torch import distributed

_T = TypeVar("_T")


def place_of_process() -> tuple[int, int]:
    """The rank of this process, and how many there are; 0 and 1 where there is no process group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gather(part: _T) -> list[_T]:
    """What every process holds, by rank, on every process: all have to call it."""
    _, count = place_of_process()
    if count == 1:
        return [part]
    parts: list[_T | None] = [None] * count
    distributed.all_gather_object(parts, part)
    return parts  # type: ignore[return-value]  # all of them are filled
