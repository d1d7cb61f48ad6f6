"""Work in a process of its own, whose death is no death of this one."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any, TypeAlias, TypeVar

_T = TypeVar("_T")

Tell: TypeAlias = Callable[[Any], object]
"""Takes what work has to say before it is done."""

# What people and schedulers end a process by.
_REQUESTS = frozenset(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)
)
# Seconds that a process gets to end by itself: a terminal's Ctrl-C reaches it, too; and after it was asked to.
_GRACE, _LAST_GRACE = 1, 10
# What all that runs here needs: it is imported once, whatever the number of processes.
_PRELOADED = ["unisim_metrics.collections.collection"]


class ProcessDied(ChildProcessError):
    """A process ended without a last word.

    Attributes:
        how: The signal's name, or the exit status.
        was_asked: Whether somebody asked it to end.
    """

    def __init__(self, exit_code: int) -> None:
        self.how = _name(-exit_code) if exit_code < 0 else f"exit status {exit_code}"
        self.was_asked = -exit_code in _REQUESTS
        super().__init__(f"The process that did the work ended without a word ({self.how}).")


def run_apart(work: Callable[[Tell], _T], hear: Tell) -> _T:
    """Do work in a process of its own, which ends with this one.

    Args:
        work: What is done; it can be pickled, and so can what it tells and returns. It begins in this process's
            directory and environment, with nothing else of its state.
        hear: Is called here with what the work tells.

    Returns:
        What the work returns.

    Raises:
        ProcessDied: If the process dies.
        BaseException: What the work or `hear` raises.
    """
    context = _context()
    here, there = context.Pipe(duplex=False)
    # Its type differs between the contexts, and the base class of these knows none.
    child: Any = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(there, os.getcwd(), dict(os.environ), work), name="unisim-apart"
    )
    with here:
        with there:
            child.start()
        try:
            while True:
                try:
                    kind, value = here.recv()
                except (EOFError, OSError):
                    child.join()
                    raise ProcessDied(child.exitcode) from None
                if kind == "told":
                    hear(value)
                    continue
                child.join()
                if kind == "failed":
                    error, shown = value
                    raise error from ChildProcessError(f"in the process that did the work:\n{shown}")
                return value  # type: ignore[no-any-return]
        finally:
            _end(child)


def _work(
    pipe: Connection, directory: str, environment: Mapping[str, str], work: Callable[[Tell], Any]
) -> None:
    """What the process does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(environment)
    os.chdir(directory)
    outcome: tuple[str, Any]
    try:
        outcome = "done", work(lambda told: pipe.send(("told", told)))
    except BaseException as error:  # raised again by the process that waits for it
        outcome = "failed", (_sendable(error), traceback.format_exc())
    pipe.send(outcome)


def _context() -> BaseContext:
    """Processes forked from one that has imported all and done nothing: quick, and safe beside threads and GPUs."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _end(child: Any) -> None:
    """End a process that still works, since nobody waits for it any more."""
    child.join(_GRACE)
    if child.is_alive():
        os.kill(child.pid, signal.SIGINT)
        child.join(_LAST_GRACE)
    child.kill()
    child.join()


def _sendable(error: BaseException) -> BaseException:
    """The error, or one that says the same, if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError, ValueError, LookupError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
