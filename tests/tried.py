"""The rows of docs/security.md on the benchmark, each declared by the test that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

ROWS: dict[str, str] = {}
"""What happens, by what was tried."""

_Test = TypeVar("_Test", bound=Callable[..., None])


def row(tried: str, happens: str) -> Callable[[_Test], _Test]:
    """Declare a row."""

    def declare(test: _Test) -> _Test:
        ROWS[tried] = happens
        return test

    return declare
