"""Writing a file whole or not at all: a reader, or a run that goes on after a kill, never sees half a file."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str) -> None:
    """Write text as UTF-8 with line feeds, beside the file's place, and put it there at the end.

    Args:
        path: The file; its folder is made if it is not there.
        text: What it holds.

    Raises:
        OSError: If it cannot be written; what was there before is still there.
        ValueError: If the text has half a surrogate pair, which UTF-8 does not know.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
