"""Reading the pickles that some sets are published as, without letting them run code.

A pickle is a program: it names functions and calls them. Here the names are looked up in a list of six, behind which
stand functions of this file that check what they are given; NumPy's own would take a crafted description of an array
for memory to walk through.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.pickles import PICKLE_ERRORS, ListedNamesUnpickler

from .annotations import AnnotationError

# Annotations and small images: the largest, CIFAR-100's, has 31 MB (test) or 155 MB (train).
_MOST_BYTES = 1 << 30
_DEEPEST = 10
_PLAIN_TYPE = re.compile("[biufSU][0-9]{1,4}")
_WRONG = pickle.UnpicklingError


class _ArrayType:
    """Stands for NumPy's class of arrays where `_reconstruct` is given it; nothing can be made of it."""

    def __new__(cls, *arguments: object) -> _ArrayType:
        raise _WRONG("an array is not made by calling its class")


class _PlainType:
    """An element type of numbers or texts, as NumPy pickles it: by name, then by a state that tells the byte order."""

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or not _PLAIN_TYPE.fullmatch(name):
            raise _WRONG(f"arrays of {name!r:.40} have no place in a file of plain data")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise _WRONG(f"the byte order {order!r:.40}")
        if self.dtype.kind == "U":
            self.dtype = np.dtype(f"U{int(state[5]) // 4}")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array that its state fills; `plain` turns it into NumPy's."""

    array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, element, fortran, data = state
        raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
        array = np.frombuffer(raw, dtype=element.dtype)
        self.array = array.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(element: _PlainType, data: bytes | str) -> Any:
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(data)
    (value,) = np.frombuffer(raw, dtype=element.dtype)
    return value


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How the older protocols write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise _WRONG(f"the encoding {encoding!r:.40}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """How the older protocols write bytes of which there are none."""
    return b""


_HARMLESS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _PlainType,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    # NumPy 2 has moved what older files name.
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
}


def read_pickle(path: Path, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain data.

    Args:
        path: The file.
        encoding: How texts that Python 2 wrote are decoded, as in `pickle.load`.

    Raises:
        AnnotationError: If it is not a pickle, or holds anything but plain data.
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    if len(content) > _MOST_BYTES:
        raise AnnotationError(f"{path}: expected a pickle of at most {_MOST_BYTES} bytes, but got more.")
    try:
        return _plain(ListedNamesUnpickler(io.BytesIO(content), _HARMLESS, encoding).load(), 0, {})
    except PICKLE_ERRORS as error:
        raise AnnotationError(f"{path}: expected a pickle of plain data, but got {error!r:.200}.") from error


def _plain(value: Any, depth: int, done: dict[int, Any]) -> Any:
    """Return a value with NumPy's arrays in it; nothing else than plain data is let through.

    Args:
        value: What was unpickled.
        depth: How many containers it lies in.
        done: What was made of containers, by identity: one that lies in many places is turned once.
    """
    if depth > _DEEPEST:
        raise _WRONG(f"containers in containers, more than {_DEEPEST} deep")
    if isinstance(value, _Array):
        if value.array is None:
            raise _WRONG("an array without content")
        return value.array
    if isinstance(value, _PlainType | type):
        raise _WRONG(f"{type(value).__name__} has no place in a file of plain data")
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) not in done:
        done[id(value)] = (
            {_plain(key, depth + 1, done): _plain(item, depth + 1, done) for key, item in value.items()}
            if isinstance(value, dict)
            else type(value)(_plain(item, depth + 1, done) for item in value)
        )
    return done[id(value)]
