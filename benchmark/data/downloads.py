"""Fetching a set's files from the Hub: a pinned commit, checked, and resumed where it was interrupted.

What was fetched is written down under the data root, in `.unisim/hub.json`: each repository's commit, and the checksum
of each file. Later calls stay with that commit.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisim_metrics.errors import UniSimError
from unisim_metrics.models.sources.hub import hub_errors
from unisim_metrics.text_files import write_text

from ..datasets.base import Dataset, Split
from ..datasets.hub_files import HubFiles
from .unpacking import archive_stem, leaves_root, unpack

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

_STATE = ".unisim"
_COMMIT = re.compile("[0-9a-f]{40}")


class DataUnavailableError(UniSimError, OSError):
    """A set's files cannot be fetched from here. The message tells why, and where to get them."""


@dataclass(frozen=True)
class Download:
    """What is to be fetched for a set.

    Attributes:
        dataset: The set.
        source: Where the Hub has it, and where it belongs.
        folders: The folders under the data root that it may write to.
        commit: The commit of the repository.
        files: Its files that are not there yet.
        done: Those that were fetched before, from this commit or with the same content.
    """

    dataset: Dataset
    source: HubFiles
    folders: frozenset[str]
    commit: str
    files: tuple[RepoFile, ...]
    done: tuple[str, ...]

    @property
    def size(self) -> int:
        """The size of the files to fetch, in bytes."""
        return sum(file.size for file in self.files)


def plan_download(dataset: Dataset, split: Split = "test", revision: str | None = None) -> Download:
    """Find out what is to be fetched for a set; nothing is fetched yet.

    The commit is that of `revision`; else the one that was fetched from before; else the one that the set declares;
    else that of the main branch.

    Args:
        dataset: The set, with its data root.
        split: Which samples.
        revision: A branch, tag or commit of the repository.

    Raises:
        ValueError: If the set has no such split.
        DataUnavailableError: If the Hub has not the set, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    if split not in dataset.files:
        raise ValueError(
            f"Argument `split` must be one of {tuple(dataset.files)} for dataset {dataset.id!r}, but got {split!r}."
        )
    wanted = (*dataset.files[split], *dataset.images[split])
    source = dataset.hub.get(split)
    if source is None:
        raise DataUnavailableError(
            f"The Hub does not have the {split} samples of {dataset.id!r} in a layout that can be read. Get them from"
            f" {dataset.url} and put them under {dataset.root}, so that there are: {', '.join(wanted)}"
        )
    record = _read_record(dataset.root).get(source.repository, {})
    chosen = revision or record.get("revision") or source.revision or "main"
    api = HfApi()
    with _explaining(dataset, source):
        if not _COMMIT.fullmatch(chosen):
            chosen = str(api.dataset_info(source.repository, revision=chosen).sha)
        listed = api.list_repo_tree(
            source.repository, revision=chosen, recursive=True, repo_type="dataset", expand=False
        )
        found = [
            entry
            for entry in listed
            if isinstance(entry, RepoFile) and any(fnmatchcase(entry.path, name) for name in source.files)
        ]
    for name in source.files:
        if not any(fnmatchcase(file.path, name) for file in found):
            raise _unavailable(dataset, source, f"its commit {chosen} has no {name}")
        if any(leaves_root(source.place(file.path)) or leaves_root(file.path) for file in found):
            raise _unavailable(dataset, source, f"its commit {chosen} names files outside the data root")
    known = record.get("files", {})
    done = tuple(file.path for file in found if known.get(file.path) == _checksum_of(file))
    files = tuple(file for file in found if file.path not in done)
    folders = frozenset(name.split("/")[0] for name in wanted)
    return Download(dataset, source, folders, chosen, files, done)


def fetch(download: Download) -> None:
    """Fetch what was planned, check it, unpack archives, and write down what was done.

    A file that was fetched in part is gone on with. One whose checksum is not the Hub's is fetched once more.

    Raises:
        DataUnavailableError: If the Hub cannot be reached, or sends another content twice.
        ArchiveError: If an archive holds what must not be unpacked.
        OSError: If the disk is too small.
    """
    root = download.dataset.root
    source = download.source
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    # Archives and what is in them lie beside each other for a while; photos hardly shrink in archives.
    needed = sum(file.size * (1 if archive_stem(file.path) is None else 2) for file in download.files)
    if needed > free:
        raise OSError(f"{root} has {free / 1e9:.1f} GB left, and {needed / 1e9:.1f} GB are needed.")
    staging = root / _STATE / "downloads" / source.repository.replace("/", "--") / download.commit
    for file in download.files:
        path = _fetch_checked(download, file, staging)
        if archive_stem(file.path) is None:
            target = root / source.place(file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        else:
            folder = os.path.dirname(file.path)
            unpack(path, root, lambda name: source.place(f"{folder}/{name}".lstrip("/")), download.folders)  # noqa: B023
            path.unlink()
        _write_record(root, source.repository, download.commit, file.path, _checksum_of(file))
    shutil.rmtree(staging, ignore_errors=True)


def _fetch_checked(download: Download, file: RepoFile, staging: Path) -> Path:
    """Return the fetched file, whose content is what the Hub says it is."""
    path = staging / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        with _explaining(download.dataset, download.source):
            _append_rest(download, file, path)
        if _checksum(path, git=file.lfs is None) == _checksum_of(file):
            return path
        path.unlink()
    reason = f"{file.path} came with another content than it announces"
    raise _unavailable(download.dataset, download.source, reason)


def _append_rest(download: Download, file: RepoFile, path: Path) -> None:
    """Fetch what is missing of a file.

    `hf_hub_download` throws away what it has when it is interrupted, and archives of several gigabytes are at stake.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    there = path.stat().st_size if path.exists() else 0
    if there > file.size:
        path.unlink()
        there = 0
    url = hf_hub_url(download.source.repository, file.path, repo_type="dataset", revision=download.commit)
    with open(path, "ab") as part:
        http_get(
            url,
            part,
            resume_size=there,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.path,
        )


def _checksum_of(file: RepoFile) -> str:
    """Return the Hub's own checksum: SHA-256 of a large file, Git's hash of a small one."""
    return str(file.lfs.sha256 if file.lfs is not None else file.blob_id)


def _checksum(path: Path, *, git: bool) -> str:
    digest = hashlib.sha1(usedforsecurity=False) if git else hashlib.sha256()
    if git:
        digest.update(b"blob %d\0" % path.stat().st_size)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read_record(root: Path) -> dict[str, dict[str, Any]]:
    path = root / _STATE / "hub.json"
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it to fetch anew.") from error
    if not isinstance(record, dict) or not all(map(_is_entry, record.values())):
        raise ValueError(
            f"{path} is damaged (it does not name files by repository): remove it to fetch anew."
        )
    return record


def _is_entry(entry: Any) -> bool:
    """Whether something is what `_write_record` keeps of a repository."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("revision"), str)
        and isinstance(entry.get("files"), dict)
    )


def _write_record(root: Path, repository: str, commit: str, file: str, checksum: str) -> None:
    record = _read_record(root)
    entry = record.setdefault(repository, {"revision": commit, "files": {}})
    entry["revision"] = commit
    entry["files"][file] = checksum
    (root / _STATE).mkdir(parents=True, exist_ok=True)
    write_text(root / _STATE / "hub.json", json.dumps(record, indent=2, sort_keys=True) + "\n")


@contextmanager
def _explaining(dataset: Dataset, source: HubFiles) -> Iterator[None]:
    """Say what went wrong on the Hub, in words that help."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise _unavailable(dataset, source, "its owner grants access on request (`hf auth login`)") from error
    except RepositoryNotFoundError as error:
        raise _unavailable(dataset, source, "the Hub has no such dataset, or it is private") from error
    except RevisionNotFoundError as error:
        raise _unavailable(dataset, source, "it has no such revision") from error
    except hub_errors() as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{type(error).__name__}: {error}"
        raise _unavailable(dataset, source, f"the Hub cannot be reached ({offline})") from error


def _unavailable(dataset: Dataset, source: HubFiles, reason: str) -> DataUnavailableError:
    return DataUnavailableError(
        f"{dataset.id!r} could not be fetched from the Hub's dataset {source.repository}: {reason}. What was fetched"
        f" is kept: run the command again to go on, or get the set from {dataset.url}"
    )
