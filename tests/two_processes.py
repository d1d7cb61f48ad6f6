"""Two processes that work together, as launchers start them.

They are forked from one that has imported the large libraries and done nothing else, where the system offers that:
those imports take longer than what most tests let the processes do.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from torch.multiprocessing import start_processes

_IMPORTED_ONCE = ["torchmetrics", "transformers.models.clip.modeling_clip", "accelerate", "pytest"]


def run_in_two(work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(rank, port, *arguments)` in two new processes, and wait for both.

    Args:
        work: A function of a module, where the processes find it. They have the environment of now, and nothing else
            of this process's state.
        *arguments: Can be pickled, as `work` can.

    Raises:
        ProcessRaisedException: If one of them fails, with what it raised.
    """
    method = "spawn"
    if "forkserver" in multiprocessing.get_all_start_methods():
        method = "forkserver"
        multiprocessing.set_forkserver_preload(_IMPORTED_ONCE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ)
    if sys.platform == "linux":  # where a machine's own name does not resolve, gloo needs to be told
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    start_processes(_begin, (port, environment, work, arguments), nprocs=2, start_method=method)


def set_launcher_environment(rank: int, port: int) -> None:
    """Set, in one of the two, the variables that torchrun and `accelerate launch` set."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _begin(
    rank: int, port: int, environment: dict[str, str], work: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    work(rank, port, *arguments)
