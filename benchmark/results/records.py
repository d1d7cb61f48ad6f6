"""Records: what files of results hold, one JSON object each, read with care.

Unknown fields are passed over, so that a file which a later version wrote can be read, as long as what is known here is
in it. What is known is checked: a file may come from anybody. Lists of numbers stand compressed, as text, and are
unpacked with a bound on what comes out.
"""

from __future__ import annotations

import base64
import unicodedata
import zlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from unisim_metrics.text_files import write_text

# A name or a signature is a line; a file of results is small.
_LONGEST = 4096
_MOST_BYTES = 1 << 28

# Far more than any set needs; without a bound a file of a megabyte may grow to a gigabyte.
_MOST_UNPACKED = 1 << 26


def _check_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("one line without control characters was expected")
    return text


Line = Annotated[str, StringConstraints(max_length=_LONGEST), AfterValidator(_check_line)]
"""Text on one line."""
Hash = Annotated[str, StringConstraints(pattern="^[0-9a-f]*$", max_length=128)]
"""A hash, in hexadecimal."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number from 0."""
Count = Annotated[int, Field(ge=0, le=2**53)]
"""A number from 0 that a float holds to the digit."""


class Record(BaseModel):
    """A part of a file."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True, frozen=True, extra="ignore", protected_namespaces=()
    )


AnyRecord = TypeVar("AnyRecord", bound=Record)


def write_record(path: Path, record: Record) -> Path:
    """Write a record, whole or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, record.model_dump_json(indent=2) + "\n")
    return path


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read a record of a kind.

    Raises:
        ValueError: If the file is none. The message names file and field.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"{path} is no {kind.__name__}: whole file: at most {_MOST_BYTES} bytes were expected"
        )
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "whole file"
        raise ValueError(f"{path} is no {kind.__name__}: {place}: {first['msg']}") from error
    # Bytes that are no text.
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no {kind.__name__}: whole file: {error}") from error


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
        raw = opened.decompress(compressed, _MOST_UNPACKED)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"a packed array was expected, got {value[:20]!r}") from error
    if opened.unconsumed_tail:
        raise ValueError(f"a packed array of at most {_MOST_UNPACKED} bytes was expected, got a larger one")
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


def _labels(value: Any) -> NDArray[Any]:
    return _unpack(value, "uint32")


Labels = Annotated[NDArray[np.uint32], BeforeValidator(_labels), PlainSerializer(_pack, return_type=str)]
"""Names in numbers, one a sample."""
Choices = Annotated[NDArray[np.uint8], BeforeValidator(_choices), PlainSerializer(_pack, return_type=str)]
"""Small numbers, one a sample."""
Values = Annotated[NDArray[np.float64], BeforeValidator(_values), PlainSerializer(_pack, return_type=str)]
"""Shares, one a sample; NaN for nothing."""
