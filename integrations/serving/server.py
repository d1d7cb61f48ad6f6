"""The process: it listens, answers, and when it is asked to stop answers first what it took."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn

from .guard import Guard


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Args:
        host: An address of this machine.
        port: The port; 0 for any that is free.

    Raises:
        OSError: If it is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def run(
    app: Guard,
    opened: socket.socket,
    *,
    grace: float = 60.0,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM; then take no more, answer what was taken, and return.

    Args:
        app: What answers.
        opened: The open port.
        grace: For how many seconds it goes on answering after the signal.
        tell: What is called with lines for people.
    """
    host, port = opened.getsockname()[:2]
    # Who stops the server with a signal did not kill it: uvicorn would send it to the process again.
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            backlog=2048,
            timeout_graceful_shutdown=max(1, round(grace)),
        )
        tell(f"Serving on http://{f'[{host}]' if ':' in host else host}:{port}")
        uvicorn.Server(config).run(sockets=[opened])
        tell(f"Stopped: {app.taken} requests taken, {app.answered} answered.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(*_: object) -> None:
    """Nothing is left to do: the server has stopped."""
