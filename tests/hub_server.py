"""A Hub in miniature: repositories in a folder, and the part of the Hub's protocol that its own client speaks.

Repositories, branches, tags and commits; public and private ones, tokens that write to a namespace; small files in
the commit itself, large ones by Git LFS. Xet is not offered: clients that would upload by it have to be told so, by
``HF_HUB_DISABLE_XET=1``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from hub_repositories import ATTRIBUTES, Refused, Reply, Repositories, git_hash, is_large
from huggingface_hub import constants, hf_api

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes
    token: str | None
    start: int = 0

    def json(self) -> Any:
        return json.loads(self.body)


class Hub(Repositories):
    """The repositories of a Hub, and its answers to requests.

    Attributes:
        asked: Every request, ``"GET /path?query"``.
        broken: Requests that match this regular expression fail, as on a bad day.
        cut: After so many bytes of the next large file the connection breaks.
        starts: Where each request for a large file began to read.
    """

    def __init__(self, root: Path, tokens: Mapping[str, str] | None = None) -> None:
        """Open the repositories under ``root``; ``tokens`` names the namespace that each token may write to."""
        super().__init__(root)
        self.tokens = dict(tokens or {})
        self.asked: list[str] = []
        self.broken: str | None = None
        self.cut: int | None = None
        self.starts: list[int] = []
        self.address = self.storage_address = ""

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Answer requests on this machine; gives the address."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                request = Request(
                    self.path, body, token if scheme == "Bearer" else None, int(start[1]) if start else 0
                )
                reply = hub.answer(self.command, request)
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(reply.content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.content[: reply.sent])

            do_GET = do_HEAD = do_POST = do_PUT = answer

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{server.server_port}"
        # The Hub's large files lie on another host: its client takes what it must know from the redirection.
        self.storage_address = f"http://localhost:{server.server_port}/storage"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self.address
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    # Requests. Which method answers which path stands at the end of the file.

    def answer(self, method: str, request: Request) -> Reply:
        self.asked.append(f"{method} {request.path}")
        try:
            if self.broken is not None and re.search(self.broken, self.asked[-1]):
                raise Refused(507, "Insufficient storage")
            if request.token is not None and request.token not in self.tokens:
                raise Refused(401, "Invalid credentials in Authorization header")
            for wanted, pattern, function in _ROUTES:
                found = re.fullmatch(pattern, urlsplit(request.path).path)
                if found and wanted == ("GET" if method == "HEAD" else method):
                    return function(self, request, *(unquote(part or "") for part in found.groups()))
            raise Refused(404, "Sorry, we can't find the page you are looking for.")
        except Refused as refused:
            return refused.reply

    def whoami(self, request: Request) -> Reply:
        if request.token is None:
            raise Refused(401, "Invalid username or password.")
        return _json({"type": "user", "name": self.tokens[request.token], "orgs": []})

    def validate_card(self, request: Request) -> Reply:
        block = re.match(r"---\n(.*?)\n---\n", request.json()["content"], re.DOTALL)
        try:
            metadata = yaml.safe_load(block.group(1)) if block else None
        except yaml.YAMLError as error:
            raise Refused(400, "Invalid metadata", errors=[{"message": str(error)}]) from error
        if not isinstance(metadata, dict):
            return _json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]})
        return _json({"errors": [], "warnings": []})

    def create(self, request: Request) -> Reply:
        asked = request.json()
        owner = asked["organization"] or self.tokens.get(request.token or "", "")
        is_space = asked.get("type") == "space"
        name = f"{'spaces/' * is_space}{owner}/{asked['name']}"
        if is_space and asked.get("sdk") not in ("gradio", "docker", "static"):
            raise Refused(400, "A Space must have an SDK")
        self._allow_writing(request, name)
        if (self.root / name).exists():
            raise Refused(409, "You already created this model repo", url=f"{self.address}/{name}")
        (self.root / name).mkdir(parents=True)
        if asked.get("visibility") == "private" or asked.get("private"):
            (self.root / name / "private").touch()
        self._commit(name, {"title": "initial commit"}, {".gitattributes": ATTRIBUTES.encode()})
        return _json({"url": f"{self.address}/{name}", "name": name})

    def info(self, request: Request, name: str, revision: str) -> Reply:
        commit = self._read(request, name, revision or "main")
        files = [entry["path"] for entry in self._tree(name, commit, "", recursive=True)]
        siblings = [{"rfilename": path} for path in files]
        return _json({"id": name, "sha": commit, "private": self.is_private(name), "siblings": siblings})

    def tree(self, request: Request, name: str, revision: str, folder: str) -> Reply:
        commit = self._read(request, name, revision)
        return _json(self._tree(name, commit, folder, "recursive=true" in request.path.lower()))

    def references(self, request: Request, name: str) -> Reply:
        self._read(request, name)
        listed = {
            kind: [
                {"name": reference, "ref": f"refs/{folder}/{reference}", "targetCommit": commit}
                for reference, commit in self._references(name, folder).items()
            ]
            for kind, folder in (("branches", "heads"), ("tags", "tags"))
        }
        return _json({**listed, "converts": []})

    def history(self, request: Request, name: str, revision: str) -> Reply:
        self._read(request, name, revision)
        return _json([{**commit, "authors": []} for commit in self.commits(name, revision)])

    def file(self, request: Request, name: str, revision: str, path: str) -> Reply:
        commit = self._read(request, name, revision)
        file = self.files(name, commit) / path
        if not file.is_file():
            raise Refused(404, "Entry not found", "EntryNotFound")
        content, known = file.read_bytes(), {"X-Repo-Commit": commit}
        if not is_large(path):
            return Reply(content, headers={**known, "ETag": f'"{git_hash(content)}"'})
        oid = hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{oid}"'}
        return Reply(b"", 302, {**known, **linked, "Location": f"{self.storage_address}/{oid}"})

    def modes(self, request: Request, name: str, revision: str) -> Reply:
        self._allow_writing(request, name)
        there = {
            entry["path"]: entry.get("lfs", entry)["oid"]
            for entry in self._tree(name, self.resolve(name, revision), "", recursive=True)
        }
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": there.get(file["path"]),
            }
            for file in request.json()["files"]
        ]
        return _json({"files": files})

    def large_files(self, request: Request, name: str) -> Reply:
        self._allow_writing(request, name)
        objects = []
        for asked in request.json()["objects"]:
            address = f"{self.storage_address}/{asked['oid']}"
            actions = {"upload": {"href": address}, "verify": {"href": f"{address}/verify"}}
            there = (self.storage / asked["oid"]).exists()
            objects.append({**asked, **({} if there else {"actions": actions})})
        return _json({"transfer": "basic", "objects": objects})

    def store(self, request: Request, oid: str) -> Reply:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise Refused(400, "The content is not what was announced")
        (self.storage / oid).write_bytes(request.body)
        return Reply()

    def verify(self, request: Request, oid: str) -> Reply:
        stored = self.storage / oid
        if not stored.is_file() or stored.stat().st_size != request.json()["size"]:
            raise Refused(404, "Object not found")
        return _json({})

    def stored(self, request: Request, oid: str) -> Reply:
        content = (self.storage / oid).read_bytes()
        self.starts.append(request.start)
        sent, self.cut = self.cut, None
        if not request.start:
            return Reply(content, headers={"ETag": f'"{oid}"'}, sent=sent)
        part = {"Content-Range": f"bytes {request.start}-{len(content) - 1}/{len(content)}"}
        return Reply(content[request.start :], 206, {"ETag": f'"{oid}"', **part}, sent)

    def commit(self, request: Request, name: str, branch: str) -> Reply:
        self._allow_writing(request, name)
        lines = [json.loads(line) for line in request.body.splitlines()]
        by_key = {
            key: [line["value"] for line in lines if line["key"] == key]
            for key in ("header", "file", "lfsFile", "deletedFile", "deletedFolder")
        }
        added: dict[str, bytes | Path] = {
            file["path"]: base64.b64decode(file["content"]) for file in by_key["file"]
        }
        added |= {file["path"]: self.storage / file["oid"] for file in by_key["lfsFile"]}
        missing = [
            path for path, content in added.items() if isinstance(content, Path) and not content.exists()
        ]
        if missing:
            raise Refused(400, f"These large files were not uploaded: {missing}")
        removed = [
            line["path"].rstrip("/") for key in ("deletedFile", "deletedFolder") for line in by_key[key]
        ]
        (header,) = by_key["header"]
        about = {"title": header["summary"], "message": header.get("description", "")}
        commit = self._commit(name, about, added, removed, branch)
        return _json({"commitUrl": f"{self.address}/{name}/commit/{commit}", "commitOid": commit})

    def create_tag(self, request: Request, name: str, revision: str) -> Reply:
        self._allow_writing(request, name)
        tag = request.json()["tag"]
        if tag in self.tags(name):
            raise Refused(409, f"Tag {tag} already exists")
        self.tag(name, tag, self.resolve(name, revision))
        return _json({})

    # What the answers are made from.

    def _read(self, request: Request, name: str, revision: str = "main") -> str:
        """The commit of a revision, if the repository is there for whoever asks."""
        mine = request.token is not None and self.tokens[request.token] == name.split("/")[-2]
        if not (self.root / name).is_dir() or (self.is_private(name) and not mine):
            raise Refused(404 if request.token else 401, "Repository not found", "RepoNotFound")
        return self.resolve(name, revision)

    def _allow_writing(self, request: Request, name: str) -> None:
        if request.token is None:
            raise Refused(401, "Invalid username or password.")
        if self.tokens[request.token] != name.split("/")[-2]:
            raise Refused(403, f"You don't have the rights to write to {name}")


def point_client(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the client of this process, which read its settings when it was imported, to a Hub."""
    for name, value in {
        "ENDPOINT": hub.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", hub.address)
    # transformers keeps a client of its own, with the address of when it was first asked for.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)


@contextmanager
def serve(repositories: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve ``{"org/name": directory}``, each as ``COMMIT`` with the tag v1; gives the address and ``Hub.asked``."""
    with TemporaryDirectory() as folder:
        hub = Hub(Path(folder))
        for name, directory in repositories.items():
            hub.tag(name, "v1", hub.add(name, directory, COMMIT))
        with hub.serve() as address:
            yield address, hub.asked


def _json(content: Any) -> Reply:
    return Reply(json.dumps(content).encode(), headers={"Content-Type": "application/json"})


_KIND = r"(?:spaces/|datasets/)"
_API = rf"/api/(?:models/|(?={_KIND}))({_KIND}?[^/]+/[^/]+)"
_ROUTES: tuple[tuple[str, str, Callable[..., Reply]], ...] = (
    ("GET", r"/api/whoami-v2", Hub.whoami),
    ("POST", r"/api/validate-yaml", Hub.validate_card),
    ("POST", r"/api/repos/create", Hub.create),
    ("GET", rf"{_API}/refs", Hub.references),
    ("GET", rf"{_API}/commits/([^/]+)", Hub.history),
    ("GET", rf"{_API}/tree/([^/]+)(?:/(.+?))?/?", Hub.tree),
    ("GET", rf"{_API}(?:/revision/([^/]+))?", Hub.info),
    ("GET", rf"/({_KIND}?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", Hub.file),
    ("POST", rf"{_API}/preupload/([^/]+)", Hub.modes),
    ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", Hub.large_files),
    ("PUT", r"/storage/(\w+)", Hub.store),
    ("POST", r"/storage/(\w+)/verify", Hub.verify),
    ("GET", r"/storage/(\w+)", Hub.stored),
    ("POST", rf"{_API}/commit/([^/]+)", Hub.commit),
    ("POST", rf"{_API}/tag/([^/]+)", Hub.create_tag),
)
