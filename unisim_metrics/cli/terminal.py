"""What reaches the terminal: notes, warnings and errors on stderr; texts of others shown, never obeyed."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

errors = Console(stderr=True, highlight=False, soft_wrap=True)

# Control characters (escape sequences begin with one), signs that turn the direction of writing, separators of lines
# and paragraphs, and bytes of a file name that are no UTF-8.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return a text with everything that a terminal would obey or not show written as its escape, `\x1b`."""
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], text)


def visible_lines(message: str) -> str:
    """Return a message of ours, which may have several lines, with each of them made visible."""
    return "\n".join(map(visible, message.split("\n")))


def print_error(message: str) -> None:
    """Print an error on stderr."""
    _print("Error: ", "bold red", message)


def print_unreadable(unreadable: Mapping[Path, str]) -> None:
    """Print which files could not be read, and why, on stderr."""
    for path, reason in unreadable.items():
        print_error(reason if str(path) in reason else f"{path}: {reason}")


def print_warning(message: str) -> None:
    """Print a warning on stderr."""
    _print("Warning: ", "yellow", message)


def print_note(message: str) -> None:
    """Print what is good to know on stderr."""
    errors.print(Text(visible_lines(message), style="dim"))


def prepare_streams() -> None:
    """Let stdout and stderr write what their encoding lacks as escapes, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def can_print(text: str) -> bool:
    """Whether the encoding of stdout has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _print(head: str, style: str, message: str) -> None:
    errors.print(Text.assemble((head, style), visible_lines(message)))
