"""A Hub in miniature: serves directories as repositories, in as much of the Hub's protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(repositories: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve ``{"org/name": directory}`` on this machine; gives the address and the list of what is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            path = self.path.split("?")[0]
            api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)/?", path)
            file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            found = api or file
            if found is None or found.group(1) not in repositories:
                return self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
            directory = repositories[found.group(1)]
            revision = found.group(3) if api else found.group(2)
            if revision not in ("main", "v1", COMMIT):
                return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
            if api and api.group(2) == "revision":
                siblings = [{"rfilename": name.name} for name in sorted(directory.iterdir())]
                return self.reply_json({"id": api.group(1), "sha": COMMIT, "siblings": siblings})
            if api:
                return self.reply_json([self.entry(name) for name in sorted(directory.iterdir())])
            content = (directory / found.group(3)).read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self.reply(200, content, headers)

        do_HEAD = do_GET

        @staticmethod
        def entry(path: Path) -> dict[str, object]:
            content = path.read_bytes()
            return {
                "type": "file",
                "path": path.name,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
            }

        def reply_json(self, content: object) -> None:
            self.reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def reply(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
