"""What is to be published, complete in a folder, and nothing of this machine in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

_PATH = re.compile(r"(?<![\w./:~-])(?:file:/+|[A-Za-z]:[\\/]|/)[^\s'\",;\[\]]*")


@dataclass(frozen=True)
class Publication:
    """What is to be published, complete in a folder.

    Attributes:
        repo: `ORG/NAME`.
        folder: The folder; it goes when the block that prepared it ends.
    """

    repo: str
    folder: Path

    @property
    def files(self) -> dict[str, Path]:
        """Every file by its path in the repository."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @property
    def card(self) -> str:
        """The model card."""
        return (self.folder / "README.md").read_text(encoding="utf-8")


def without_paths(value: Any) -> Any:
    """JSON with the last part alone of every absolute path in it: `--data=/home/me/data` becomes `--data=data`."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            return kind(value).name
    return _PATH.sub(lambda found: PureWindowsPath(found[0]).name, value)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
