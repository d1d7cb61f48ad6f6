"""Lists of numbers in a result file: compressed, as text; unpacked with a bound on what comes out."""

from __future__ import annotations

import base64
import zlib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer

__all__ = ["Choices", "Values"]

# Far more than any set needs; without a bound a file of a megabyte may grow to a gigabyte.
_MOST_BYTES = 1 << 26


def _pack(array: NDArray[Any]) -> str:
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return f"{array.dtype.name}:{base64.b85encode(zlib.compress(raw, 9)).decode()}"


def _unpack(value: Any, dtype: str) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, str) or not value.startswith(f"{dtype}:"):
        raise ValueError(f"a packed array of {dtype} was expected, got {value!r:.20}")
    try:
        compressed = base64.b85decode(value.partition(":")[2])
        opened = zlib.decompressobj()
        raw = opened.decompress(compressed, _MOST_BYTES)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"a packed array was expected, got {value[:20]!r}") from error
    if opened.unconsumed_tail:
        raise ValueError(f"a packed array of at most {_MOST_BYTES} bytes was expected, got a larger one")
    if not opened.eof or opened.unused_data:
        raise ValueError(f"a packed array was expected, got {value[:20]!r}")
    return np.frombuffer(raw, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)


def _choices(value: Any) -> NDArray[Any]:
    return _unpack(value, "uint8")


def _values(value: Any) -> NDArray[Any]:
    values = _unpack(value, "float64")
    if np.any((values < 0) | (values > 1)):
        raise ValueError("numbers from 0 to 1 were expected, or NaN")
    return values


Choices = Annotated[NDArray[np.uint8], BeforeValidator(_choices), PlainSerializer(_pack, return_type=str)]
"""Small numbers, one a sample."""
Values = Annotated[NDArray[np.float64], BeforeValidator(_values), PlainSerializer(_pack, return_type=str)]
"""Shares, one a sample; NaN for nothing."""
