"""A store of objects for tests, which every process of this machine sees: `shelf://bucket/name`.

Its objects are files below the folder that the variable `SHELF` names. As in a store of objects nothing can be moved
there and nothing appended; unlike in most, an object that is being put can be seen when half of it has come.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

PAUSE = 0.005


class Shelf(LocalFileSystem):
    protocol = "shelf"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        text = os.fspath(path)
        if text.startswith("shelf://"):
            text = str(Path(os.environ["SHELF"]) / text.removeprefix("shelf://"))
        return text.rstrip("/")

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        content = Path(lpath).read_bytes()
        place = Path(self._strip_protocol(rpath))
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            time.sleep(PAUSE)  # a death may fall into it
            file.write(content[len(content) // 2 :])

    def mv(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("A store has no moves.")

    def mkdir(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("A store has no folders.")

    makedirs = mkdirs = mv_file = mkdir


fsspec.register_implementation("shelf", Shelf, clobber=True)
