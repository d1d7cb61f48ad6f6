"""What stands before the routes: the token, the sizes of bodies, how long they take, and how many are held.

A body is let in when there is room for all of it, and is handed on when it is complete: a request waits at the door
rather than in memory.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .failures import RequestError, failure, is_pickled
from .limits import Limits
from .measures import Measures

# Many times what the largest request has. Each entry of a parsed body takes up to a hundred bytes.
_MOST_JSON_ENTRIES = 1_000_000
_OPEN = "/health"


class Guard:
    """Middleware that answers with 401, 408, 413, 429 or 503 what must not come further.

    Args:
        app: What stands behind it.
        limits: How much is taken.
        measures: Where it is counted.
        token: What clients have to know; None lets all in.
    """

    def __init__(self, app: ASGIApp, limits: Limits, measures: Measures, token: str | None) -> None:
        self.app = app
        self.limits = limits
        self.measures = measures
        self.token = token
        self.held = 0
        self.taken = 0
        self.answered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body complete, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        path: str = scope["path"]
        status = 500
        self.taken += 1

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.answered += 1

        room = 0
        try:
            room = self._admit(Request(scope))
            self._hold(room)
            body = await self._read(receive, room)
            await self.app(scope, _replay(body, receive), watched)
        except RequestError as error:
            if error.status in (401, 503):
                await self._let_finish(receive)
            await failure(path, error.status, error.message)(scope, receive, watched)
        except _Gone:
            status = 499
        finally:
            self._hold(-room)
            form = "pickle" if is_pickled(path) else "json"
            self.measures.requests.labels(form, status).inc()
            self.measures.request_seconds.labels(form).observe(time.perf_counter() - start)

    def _admit(self, request: Request) -> int:
        """The bytes that are held for a request from its head on."""
        if request.url.path != _OPEN and self.token is not None:
            self._check_token(request.headers.get("authorization", ""))
        if request.method in ("GET", "HEAD"):
            return 0
        announced = request.headers.get("content-length", "")
        # A body of no announced length may become as long as any.
        size = int(announced) if announced.isdecimal() and announced.isascii() else self.limits.body_bytes
        if size > self.limits.body_bytes:
            raise RequestError(
                413,
                f"A body must have at most {self.limits.body_bytes} bytes, but {announced} are announced.",
            )
        if self.held + size > self.limits.waiting_bytes:
            raise RequestError(
                503,
                f"{self.held} bytes of requests are held, and at most {self.limits.waiting_bytes} may be: ask again"
                " later.",
            )
        return size

    def _check_token(self, header: str) -> None:
        """Take `Bearer TOKEN`, or what `http://unisim:TOKEN@host` becomes, for clients that send no header."""
        assert self.token is not None
        scheme, _, rest = header.partition(" ")
        given = rest.encode("latin-1")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                given = b""
        if not hmac.compare_digest(given, self.token.encode("utf-8")):
            raise RequestError(
                401,
                "The token must be sent as `Authorization: Bearer TOKEN`, or in the URL as http://unisim:TOKEN@HOST,"
                f" but got {'another' if given else 'none'}.",
            )

    def _hold(self, change: int) -> None:
        self.held += change
        self.measures.waiting_bytes.set(self.held)

    async def _read(self, receive: Receive, room: int) -> bytes:
        try:
            body = await asyncio.wait_for(_collect(receive, room), self.limits.body_seconds)
        except asyncio.TimeoutError:
            raise RequestError(
                408, f"A body must arrive within {self.limits.body_seconds:g} seconds, but did not."
            ) from None
        # The bytes of a pickle are no text; what it may build is counted where it is read.
        if body[:1] in (b"{", b"["):
            entries = sum(map(body.count, (b",", b"[", b"{")))
            if entries > _MOST_JSON_ENTRIES:
                raise RequestError(
                    413, f"A body must have at most {_MOST_JSON_ENTRIES} entries, but has about {entries}."
                )
        return body

    async def _let_finish(self, receive: Receive) -> None:
        """Drop what a refused client still sends: many read no answer before they are done."""
        try:
            await asyncio.wait_for(_drop(receive, self.limits.body_bytes), self.limits.body_seconds)
        except asyncio.TimeoutError:
            return


async def _collect(receive: Receive, room: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        body += message.get("body", b"")
        if len(body) > room:
            raise RequestError(413, f"A body must have at most {room} bytes here, but has more.")
        more = message.get("more_body", False)
    return bytes(body)


async def _drop(receive: Receive, left: int) -> None:
    more = True
    while more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the routes receive: the body in one piece, then what else comes."""
    pieces = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        piece = next(pieces, None)
        return await receive() if piece is None else piece

    return replay


class _Gone(Exception):
    """The client hung up before its body was complete."""
