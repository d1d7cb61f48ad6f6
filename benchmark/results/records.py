"""Records: what files of results hold, one JSON object each, read with care.

Unknown fields are passed over, so that a file which a later version wrote can be read, as long as what is known here is
in it. What is known is checked: a file may come from anybody.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from unisim_metrics.text_files import write_text

__all__ = ["Amount", "Count", "Hash", "Line", "Record", "Share", "read_record", "write_record"]

# A name or a signature is a line; a file of results is small.
_LONGEST = 4096
_MOST_BYTES = 1 << 28


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
