"""Work in a process of its own: what it returns, tells and raises comes here, and its death does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from unisim_metrics.collections.apart import ProcessDied, Tell, run_apart
from unisim_metrics.errors import BadRowsError


class Unpicklable(ValueError):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def tell_and_return(told: list[Any], result: Any, tell: Tell) -> Any:
    for each in told:
        tell(each)
    return result


def fail(error: BaseException, tell: Tell) -> None:
    tell("before")
    raise error


def fail_with_what_cannot_be_sent(tell: Tell) -> None:
    raise Unpicklable(1, 2)


def say_where(tell: Tell) -> tuple[int, str, str | None]:
    return os.getpid(), os.getcwd(), os.environ.get("SAID_HERE")


def kill(number: int, tell: Tell) -> None:
    tell("before")
    os.kill(os.getpid(), number)
    time.sleep(60)


def leave(status: int, tell: Tell) -> None:
    os._exit(status)


def sleep(mark: Path, tell: Tell) -> None:
    mark.write_text(str(os.getpid()))
    time.sleep(60)


def not_called(told: Any) -> None:
    raise AssertionError(told)


@pytest.mark.parametrize("told", [[], [None], list(range(1000))])
def test_what_is_told_and_returned_comes_here_in_order(told: list[Any]) -> None:
    heard: list[Any] = []
    assert run_apart(partial(tell_and_return, told, {"rows": 3}), heard.append) == {"rows": 3}
    assert heard == told


def test_it_has_the_directory_and_environment_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("SAID_HERE", name)
        process, place, said = run_apart(say_where, not_called)
        assert process != os.getpid()
        assert (Path(place), said) == (tmp_path / name, name)


def test_errors_are_raised_here() -> None:
    heard: list[Any] = []
    with pytest.raises(BadRowsError, match="3 of 9 rows") as caught:
        run_apart(partial(fail, BadRowsError("3 of 9 rows")), heard.append)
    assert heard == ["before"] and "in fail" in str(caught.value.__cause__)
    with pytest.raises(KeyboardInterrupt):
        run_apart(partial(fail, KeyboardInterrupt()), heard.append)
    with pytest.raises(RuntimeError, match="Unpicklable: 1 and 2"):
        run_apart(fail_with_what_cannot_be_sent, not_called)


@pytest.mark.parametrize(
    ("work", "how", "was_asked"),
    [
        (partial(kill, signal.SIGSEGV), "SIGSEGV", False),
        (partial(kill, signal.SIGKILL), "SIGKILL", False),
        (partial(kill, signal.SIGTERM), "SIGTERM", True),
        (partial(leave, 0), "exit status 0", False),
        (partial(leave, 3), "exit status 3", False),
    ],
)
def test_its_death_is_told(work: Any, how: str, was_asked: bool) -> None:
    with pytest.raises(ProcessDied, match=rf"without a word \({how}\)") as caught:
        run_apart(work, lambda _: None)
    assert (caught.value.how, caught.value.was_asked) == (how, was_asked)


def test_it_ends_where_nobody_listens_any_more() -> None:
    heard: list[Any] = []

    def refuse(told: Any) -> None:
        heard.append(told)
        raise LookupError(told)

    begin = time.perf_counter()
    with pytest.raises(LookupError):
        run_apart(partial(kill, 0), refuse)  # a signal that does nothing: it goes on for a minute
    assert heard == ["before"] and time.perf_counter() - begin < 45


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_it_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    mark = tmp_path / "process"
    program = tmp_path / "program.py"
    program.write_text(
        "import test_apart, sys\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        "    test_apart.run_apart(partial(test_apart.sleep, Path(sys.argv[1])), print)\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    waiting = subprocess.Popen(
        [sys.executable, str(program), str(mark)], env={**os.environ, "PYTHONPATH": paths}
    )
    while not (mark.exists() and mark.read_text()):
        assert waiting.poll() is None
        time.sleep(0.05)
    waiting.kill()
    waiting.wait()
    process = int(mark.read_text())
    for _ in range(400):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("it still works")
