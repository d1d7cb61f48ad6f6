"""Text files that people keep: read in the encodings that their programs write, and written whole or not at all."""

from __future__ import annotations

import codecs
import os
import re
import uuid
from pathlib import Path

# The longer mark first: that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END = re.compile(r"\r\n|\r|\n")


def read_text(path: Path) -> str:
    """Read a text file: UTF-8, or what its byte order mark says (UTF-8, UTF-16, UTF-32).

    Args:
        path: The file.

    Returns:
        Its text without the mark, line ends as they are.

    Raises:
        ValueError: If it is in another encoding. The message names the file and the line.
        OSError: If it cannot be read.
    """
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(_LINE_END.split(content[: error.start].decode(encoding, errors="ignore")))
        found = content[error.start]
        raise ValueError(
            f"{path}: line {line} is not {encoding.removesuffix('-sig').upper()} (byte 0x{found:02x}). Save the file as"
            " UTF-8; in a spreadsheet that is “CSV UTF-8”."
        ) from error
    if "\0" in text:
        line = len(_LINE_END.split(text[: text.index("\0")]))
        raise ValueError(
            f"{path}: line {line} holds a NUL character, so this is no text in UTF-8. Save the file as UTF-8."
        )
    return text


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text: `\n`, `\r\n` and `\r` end one, and nothing else does (`str.splitlines` has more)."""
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8: a new file beside it takes its place, so that it is never half written or empty.

    What UTF-8 cannot hold (half a surrogate pair, which stands for a byte in a file name) is written as its escape,
    which JSON reads as the same character.

    Args:
        path: The file. A link stays one; a pipe or device is written to.
        text: Its content.

    Raises:
        OSError: If it cannot be written. What was there before stays.
    """
    content = text.encode("utf-8", errors="backslashreplace")
    target = path.resolve()
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    temporary = target.with_name(f".unisim-{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
