"""What the Hub has of a set: which repository and files, and where they belong under the data root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

AUTHORS_DATA = "saraghznfri/unisim_data"
"""The data root of the paper's authors: one archive a folder, with the test samples."""

AUTHORS_REVISION = "47d9f499f158df47b0aa4dfc8ed101fae2298f51"


@dataclass(frozen=True)
class HubFiles:
    """What a repository of the Hub has of a split.

    An archive (`.tar`, `.tar.gz`, `.zip`) is unpacked beside where it would lie, into the folder that it is named
    after.

    Attributes:
        repository: The name of a dataset on the Hub.
        files: Its files; `*` stands for anything.
        folder: The folder under the data root that takes them, with their paths.
        places: What the repository calls otherwise than the set does: beginnings of paths under the data root, and
            what takes their place. The first that fits counts.
        revision: The commit to fetch; None if none is known.
    """

    repository: str
    files: tuple[str, ...]
    folder: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    revision: str | None = None

    def place(self, path: str) -> str:
        """Return where a file belongs under the data root, from its path in the repository or its archives."""
        path = f"{self.folder}/{path}" if self.folder else path
        for beginning, replacement in self.places.items():
            if path.startswith(beginning):
                return replacement + path[len(beginning) :]
        return path


def authors_archive(name: str, places: Mapping[str, str] | None = None) -> HubFiles:
    """Return an archive of the authors' data root."""
    return HubFiles(AUTHORS_DATA, (name,), places=places or {}, revision=AUTHORS_REVISION)
