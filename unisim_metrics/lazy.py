"""Names of a package that load on first use, so that its import stays quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, homes: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package.

    Args:
        package: Its `__name__`.
        homes: Its names, by the module below it that each comes from; an empty one for modules themselves.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = home_of[name]
        return (
            getattr(import_module(f"{package}.{home}"), name) if home else import_module(f"{package}.{name}")
        )

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return load, list_names
