"""Archives that hold a model's directory."""

from __future__ import annotations

import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from unisim_metrics.errors import CheckpointError

_CONFIG = "config.json"


def _is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive with a `config.json`; a `.pt` is a zip archive without."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path)) and bool(_config(path))


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Unpack an archive beside itself for the time of the block; anything else stays as it is.

    Args:
        archive: A file, or a directory.

    Returns:
        The directory in it that has the `config.json`.

    Raises:
        CheckpointError: If the archive is damaged, or a member would be written outside.
    """
    if not _is_archive(archive):
        yield archive
        return
    with tempfile.TemporaryDirectory(prefix=f".{archive.stem}-", dir=archive.parent) as folder:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as zipped:
                    zipped.extractall(folder)
            else:
                with tarfile.open(archive) as tar:
                    tar.extractall(folder, filter="data")
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
            raise CheckpointError(
                f"The archive {archive} cannot be read; it may be cut short: {error}"
            ) from error
        yield Path(folder, _config(archive)).parent


def _config(archive: Path) -> str:
    """The name of the `config.json` that lies highest, or nothing."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                names = zipped.namelist()
        else:
            with tarfile.open(archive) as tar:
                names = tar.getnames()
    except (zipfile.BadZipFile, tarfile.TarError, EOFError):
        return ""
    found = [name for name in names if PurePosixPath(name).name == _CONFIG]
    return min(found, key=lambda name: (name.count("/"), name), default="")
