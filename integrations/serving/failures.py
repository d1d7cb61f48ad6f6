"""Requests that are not answered with rewards: a status and a message, in the form that the client reads."""

from __future__ import annotations

import pickle

from starlette.responses import JSONResponse, Response

RETRY_AFTER = 1
"""After how many seconds a client that was refused for load may ask again."""

_FOR_NOW = (429, 503)


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        message: What was expected and what came.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def is_pickled(path: str) -> bool:
    """Whether requests to a path, and so the answers, are pickles."""
    return path == "/" or path.endswith("/pickle")


def failure(path: str, status: int, message: str) -> Response:
    """Return the answer to a request that failed: `{"error": message}`, in JSON or pickled.

    Args:
        path: The path of the request, which tells the form.
        status: The HTTP status.
        message: What is told.
    """
    headers = {"Retry-After": str(RETRY_AFTER)} if status in _FOR_NOW else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="unisim", Bearer'
    if is_pickled(path):
        return pickled({"error": message}, status, headers)
    return JSONResponse({"error": message}, status, headers)


def pickled(
    content: dict[str, str | list[float]], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a pickle of plain data."""
    return Response(pickle.dumps(content, protocol=4), status, headers, "application/octet-stream")
