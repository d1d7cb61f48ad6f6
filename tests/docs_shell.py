"""The commands of a page, run in this process: bash splits a line into words, the program that they name is called."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import metadata
from importlib.util import find_spec
from io import StringIO
from typing import Any
from unittest.mock import patch

import docs_benchmark
import docs_training
import typer.main
from docs_pages import ROOT, Block
from packaging.requirements import Requirement
from typer.testing import CliRunner

from unisim_metrics.cli import app

# What starts a program in several processes; here one will do.
_LAUNCHERS = (("torchrun",), ("accelerate", "launch"))
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=.*", re.DOTALL)
# More than this of an error's output helps nobody.
_SHOWN = 3000

Shorten = Callable[[list[str]], list[str]]


class _Parsed(Exception):
    """A module has read its options."""


class CommandFailed(AssertionError):
    """A command of a page that does not do what the page says."""


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command of a block with its page and line; a line that ends in a backslash goes on."""
    line, code = block.line, block.code
    for command in re.split(r"(?<!\\)\n", code):
        if command.strip() and not command.lstrip().startswith("#"):
            yield f"{block.page}:{line}", command
        line += command.count("\n") + 1


def reason_not_to_run(block: Block, command: str) -> str | None:
    """Why a command is not run, if it is not."""
    found = [reason for start, reason in block.not_run.items() if command.startswith(start)]
    return found[0] if found else None


def run(command: str, place: str, shorten: Shorten = docs_benchmark.shorten) -> str:
    """Run a command in the working directory and give what it prints.

    Args:
        command: As it stands in the page.
        place: Its page and line, which errors name.
        shorten: Makes the words of a command that would take long those of a shorter one.

    Raises:
        CommandFailed: If the command ends with another status than 0, or nobody knows how to run it.
    """
    settings, words = _words(command)
    with patch.dict(os.environ, settings):
        words = docs_training.shorten(shorten(words))
        if words[0] == "unisim":
            return _unisim(words[1:], place)
        module = _module(words)
        if module is not None:
            return _run_module(module, place)
        return _look_at(words, place)


def check(command: str, place: str) -> None:
    """Check a command that is not run: whether its program knows its options.

    Raises:
        CommandFailed: If it does not.
    """
    _, words = _words(command)
    module = _module(words)
    if module is not None and module[0] == "unisim_metrics":
        words = ["unisim", *module[1:]]
    elif module is not None:
        if find_spec(module[0]) is None:
            raise CommandFailed(f"{place}: there is no module {module[0]}")
        _parse_module(module, place)
        return
    if words[0] == "unisim":
        _parse(words[1:], place)


def _words(command: str) -> tuple[dict[str, str], list[str]]:
    """Variables and words of a command, as bash reads it: with its quotes, globs and comments."""
    split = "words() { printf '%s\\0' \"$@\"; }; words " + command
    found = subprocess.run(["bash", "-c", split], capture_output=True, text=True, check=True).stdout.split(
        "\0"
    )[:-1]
    settings = {}
    while _ASSIGNMENT.fullmatch(found[0]):
        name, _, value = found.pop(0).partition("=")
        settings[name] = value
    return settings, found


def _module(words: Sequence[str]) -> list[str] | None:
    """The module that `python -m` or a launcher starts, with its arguments."""
    launched = any(tuple(words[: len(launcher)]) == launcher for launcher in _LAUNCHERS)
    if (launched or words[0] == "python") and "-m" in words:
        return list(words[words.index("-m") + 1 :])
    return None


def _unisim(words: Sequence[str], place: str) -> str:
    result = CliRunner().invoke(app, list(words), prog_name="unisim")
    if result.exit_code != 0:
        error = result.exception if not isinstance(result.exception, SystemExit) else None
        raise CommandFailed(
            f"{place}: `unisim {' '.join(words)}` ended with status {result.exit_code}:\n"
            f"{result.output[-_SHOWN:]}{error!r}"
        ) from error
    return result.stdout


def _run_module(words: Sequence[str], place: str) -> str:
    with _printing() as (printed, errors), patch.object(sys, "argv", list(words)):
        try:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise CommandFailed(
                    f"{place}: `{' '.join(words)}` ended with status {end.code}:\n"
                    f"{(printed.getvalue() + errors.getvalue())[-_SHOWN:]}"
                ) from end
    return printed.getvalue()


@contextmanager
def _printing() -> Iterator[tuple[StringIO, StringIO]]:
    printed, errors = StringIO(), StringIO()
    with redirect_stdout(printed), redirect_stderr(errors):
        yield printed, errors


def _look_at(words: Sequence[str], place: str) -> str:
    """Programs that change a machine are only looked at: whether what they are told to do is there."""
    if words[:2] == ["pip", "install"]:
        extras = {extra for word in words[2:] if word[0] != "-" for extra in Requirement(_named(word)).extras}
        unknown = extras - set(metadata.metadata("unisim-metrics").get_all("Provides-Extra") or ())
        problem = f"the package has no extras {sorted(unknown)}" if unknown else ""
    elif words[0] == "make":
        made = subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True)
        problem = made.stderr
    elif words[0] == "pytest" or (ROOT / words[0]).is_file():
        missing = [word for word in words if "/" in word and not (ROOT / word).is_file()]
        problem = f"there is no {' '.join(missing)}" if missing else ""
    else:
        problem = "nobody knows how to run it here; mark it `<!-- not run: REASON -->`"
    if problem:
        raise CommandFailed(f"{place}: `{' '.join(words)}`: {problem}")
    return ""


def _named(requirement: str) -> str:
    """A clone, ".", has the name of the package."""
    return re.sub(r"^\.", "unisim-metrics", requirement)


def _parse(words: Sequence[str], place: str) -> None:
    """Read the words as `unisim` does, and stop there."""
    command: Any = typer.main.get_command(app)
    context, rest = None, list(words)
    try:
        while True:
            context = command.make_context(command.name or "unisim", rest, parent=context)
            if not hasattr(command, "resolve_command"):
                return
            _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    except Exception as error:
        # Files that the command would read are not there: nothing is run.
        if "does not exist" not in str(error):
            raise CommandFailed(f"{place}: `unisim {' '.join(words)}`: {error}") from error


def _parse_module(words: Sequence[str], place: str) -> None:
    """Read the words as the module's `argparse` does, and stop there."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *arguments: Any) -> None:
        parse(self, *arguments)
        raise _Parsed

    with patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            _run_module(words, place)
        except _Parsed:
            return
    raise CommandFailed(f"{place}: {words[0]} reads no options; mark it for what it is, or run it")
