"""Image files that are named when they are added and read when they are scored: they must be the same then."""

from __future__ import annotations

from pathlib import Path

from unisim_metrics.errors import ImageReadError
from unisim_metrics.metrics.wrappers import hash_file


class NamedFiles:
    """What the files held that were added so far."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def add(self, path: Path, argument: str) -> str:
        """Return a name for the file that tells its content too, to be kept until `same_file`.

        Raises:
            ImageReadError: If the file is not there, or held something else when it was added before.
        """
        if not path.is_file():
            raise ImageReadError(f"Argument `{argument}` names an image file that is not there: '{path}'.")
        content = hash_file(path)
        if self._known.setdefault(path, content) != content:
            raise ImageReadError(f"Argument `{argument}` names '{path}'{_WRITTEN_ANEW}")
        return f"{content}:{path}"


def same_file(name: str) -> Path:
    """The file of a name that `NamedFiles.add` gave.

    Raises:
        ImageReadError: If the file cannot be read, or holds something else now.
    """
    content, _, path = name.partition(":")
    if hash_file(path) != content:
        raise ImageReadError(f"Image file '{path}'{_WRITTEN_ANEW}")
    return Path(path)


_WRITTEN_ANEW = (
    ", which was written anew since it was added: files are read when they are scored. Give every image a file of its"
    " own, or add the opened image."
)
