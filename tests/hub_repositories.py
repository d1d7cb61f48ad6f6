"""The repositories of a Hub in miniature, in a folder: branches, tags and commits; large files by Git LFS."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_LARGE = (".safetensors", ".bin", ".pt", ".msgpack", ".h5", ".onnx", ".tar", ".gz", ".zip", ".parquet")
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LARGE)


@dataclass(frozen=True)
class Reply:
    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None


class Refused(Exception):
    """A request that the Hub answers with an error, in the headers and the body that its client reads."""

    def __init__(self, status: int, message: str, code: str = "", **body: Any) -> None:
        super().__init__(message)
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.reply = Reply(json.dumps({"error": message, **body}).encode(), status, headers)


class Repositories:
    """Repositories in a folder.

    ::

        ORG/NAME/private              the repository is private (a Space's folder is spaces/ORG/NAME, and so on)
        ORG/NAME/refs/heads/main      the id of a commit, as in refs/tags/v1
        ORG/NAME/commits/ID/          the files of a commit
        ORG/NAME/commits/ID.json      its parent, title, message and date
        .storage/SHA256               the large files
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.storage = root / ".storage"
        self.storage.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()

    def add(self, name: str, directory: Path, commit: str | None = None) -> str:
        """Put a directory up as a public repository, in one commit whose id is given back."""
        files = {path.relative_to(directory).as_posix(): path for path in _files(directory)}
        return self._commit(name, {"title": "first"}, files, commit=commit)

    def resolve(self, name: str, revision: str = "main") -> str:
        """The commit that a branch, a tag or a commit's id names."""
        repository = self.root / name
        for kind in ("heads", "tags"):
            reference = repository / "refs" / kind / revision
            if reference.is_file():
                return reference.read_text()
        if (repository / "commits" / revision).is_dir():
            return revision
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, name: str, revision: str = "main") -> Path:
        """The folder with the files of a revision."""
        return self.root / name / "commits" / self.resolve(name, revision)

    def commits(self, name: str, revision: str = "main") -> list[dict[str, Any]]:
        """The commits up to a revision, the last one first."""
        found = []
        commit: str | None = self.resolve(name, revision)
        while commit is not None:
            found.append(json.loads((self.root / name / "commits" / f"{commit}.json").read_text()))
            commit = found[-1]["parent"]
        return found

    def tags(self, name: str) -> dict[str, str]:
        """The commit of each tag."""
        return self._references(name, "tags")

    def is_private(self, name: str) -> bool:
        return (self.root / name / "private").exists()

    def tag(self, name: str, tag: str, commit: str) -> None:
        reference = self.root / name / "refs" / "tags" / tag
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)

    def _references(self, name: str, kind: str) -> dict[str, str]:
        folder = self.root / name / "refs" / kind
        return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}

    def _tree(self, name: str, commit: str, folder: str, recursive: bool) -> list[dict[str, Any]]:
        top = self.files(name, commit)
        if not (top / folder).is_dir():
            raise Refused(404, f"{folder} does not exist", "EntryNotFound")
        entries: list[dict[str, Any]] = []
        for path in _files(top / folder) if recursive else sorted((top / folder).iterdir()):
            inside = path.relative_to(top).as_posix()
            if path.is_dir():
                entries.append({"type": "directory", "path": inside, "oid": git_hash(b""), "size": 0})
                continue
            content = path.read_bytes()
            entries.append({"type": "file", "path": inside, "size": len(content), "oid": git_hash(content)})
            if is_large(inside):
                oid = hashlib.sha256(content).hexdigest()
                entries[-1]["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
        return entries

    def _commit(
        self,
        name: str,
        about: dict[str, str],
        added: Mapping[str, bytes | Path],
        removed: list[str] | None = None,
        branch: str = "main",
        commit: str | None = None,
    ) -> str:
        """Write a commit whole, then move the branch to it."""
        with self.lock:
            repository = self.root / name
            reference = repository / "refs" / "heads" / branch
            parent = reference.read_text() if reference.is_file() else None
            now = datetime.now(timezone.utc)
            commit = commit or hashlib.sha1(f"{name} {parent} {now} {sorted(added)}".encode()).hexdigest()
            folder = repository / "commits" / commit
            if parent is None:
                folder.mkdir(parents=True)
            else:
                shutil.copytree(self.files(name, parent), folder, copy_function=os.link)
            for path in [*(removed or []), *added]:
                if (folder / path).is_dir():
                    shutil.rmtree(folder / path)
                else:
                    (folder / path).unlink(missing_ok=True)
            for path, content in added.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
                if is_large(path):
                    oid = hashlib.sha256((folder / path).read_bytes()).hexdigest()
                    shutil.copyfile(folder / path, self.storage / oid)
            record = {"id": commit, "parent": parent, "date": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"), **about}
            record.setdefault("message", "")
            (repository / "commits" / f"{commit}.json").write_text(json.dumps(record))
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(commit)
            return commit


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def is_large(path: str) -> bool:
    return path.endswith(_LARGE)


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
