"""Requests as flow_grpo and verl-omni pickle them, read as bytes, texts, numbers, lists and dictionaries alone."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unisim_metrics.pickles import PICKLE_ERRORS, ListedNamesUnpickler

# What builds the plain types from protocol 3 on; to name, call or import is not among it.
_PLAIN_NAMES = (
    "PROTO FRAME STOP MARK MEMOIZE PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET"
    " EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS"
    " INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT NEWTRUE NEWFALSE NONE"
    " UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8"
)
_PLAIN = frozenset(_PLAIN_NAMES.split())
_NAMES = {ord(operation.code): operation.name for operation in pickletools.opcodes}
# Many times what the largest request takes; each costs up to a hundred bytes.
_MOST_OPERATIONS = 200_000
_KEYS = ("images", "prompts", "references", "metadata")
_EXPECTED = (
    "a pickle of bytes, str, numbers, lists and dicts alone, of protocol 3 or later; an array is sent as a list, such"
    " as `prompts.tolist()`"
)


@dataclass(frozen=True)
class PickledRequest:
    """What a pickle asks for: encoded images, and texts and encoded references where there are any."""

    images: list[bytes]
    prompts: list[str] | None
    references: list[bytes] | None


def read_request(body: bytes) -> PickledRequest:
    """Read a pickled request.

    Args:
        body: A pickle of `{"images": [bytes], "prompts": [str], "references": [bytes], "metadata": ...}`; all but the
            images may be missing, and metadata are not looked at.

    Raises:
        ValueError: If it is no pickle, or holds anything but such data.
    """
    content = _read_plain(body)
    if not isinstance(content, dict) or "images" not in content:
        raise ValueError(f"The body must be a pickled dict with `images`, but got {_describe(content)}.")
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise ValueError(f"The body must have no keys but {', '.join(_KEYS)}, but got {unknown[0]!r:.80}.")
    images = _list_of(content, "images", bytes)
    if images is None:
        raise ValueError("Argument `images` must be a list of encoded images, but got None.")
    return PickledRequest(images, _list_of(content, "prompts", str), _list_of(content, "references", bytes))


class _PlainUnpickler(ListedNamesUnpickler):
    """Knows the operations that build plain data, and takes so many of them."""

    def __init__(self, body: bytes) -> None:
        super().__init__(io.BytesIO(body), names={})
        self.dispatch = _PlainOperations(self.dispatch)  # type: ignore[misc]


class _PlainOperations(dict[int, Callable[..., None]]):
    """The unpickler's table of operations, of which only those of plain data are found."""

    taken = 0

    def __getitem__(self, code: int) -> Callable[..., None]:
        self.taken += 1
        if self.taken > _MOST_OPERATIONS:
            raise pickle.UnpicklingError(f"more than {_MOST_OPERATIONS} operations")
        if _NAMES.get(code) not in _PLAIN:
            raise pickle.UnpicklingError(f"the operation {_NAMES.get(code, code)}")
        return super().__getitem__(code)


def _read_plain(body: bytes) -> Any:
    try:
        return _PlainUnpickler(body).load()
    except PICKLE_ERRORS as error:
        raise ValueError(f"The body must be {_EXPECTED}, but got {error!r:.200}.") from error


def _list_of(content: dict[Any, Any], key: str, kind: type) -> Any:
    values = content.get(key)
    if values is None:
        return None
    if not isinstance(values, list):
        raise ValueError(f"Argument `{key}` must be a list of {kind.__name__}, but got {_describe(values)}.")
    for place, value in enumerate(values):
        if not isinstance(value, kind):
            raise ValueError(
                f"Argument `{key}[{place}]` must be {kind.__name__}, but got {_describe(value)}."
            )
    return values


def _describe(value: object) -> str:
    return f"a dict with {list(value)!r:.80}" if isinstance(value, dict) else type(value).__name__
