"""Samples of tar archives in the layout of WebDataset: files of one name, told apart by what stands behind its dot."""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from typing_extensions import Self

from unisim_metrics.collections.cells import Unreadable
from unisim_metrics.collections.pairs import Source
from unisim_metrics.collections.reading.rows import Row, Wanted
from unisim_metrics.collections.reading.tables import WHOLE, Part, as_text
from unisim_metrics.collections.stores import open_file, refuse_to_guess
from unisim_metrics.images.files import is_image_name

# Larger members are named, not read: no image is.
_MOST_BYTES = 2**30
# The image column of a scorer that names none: any image of the sample.
_ANY_IMAGE = "image"

# Where the standard library takes the end of what there is for the end of the archive.
_NO_HEADER: tuple[type[tarfile.HeaderError], ...] = tuple(
    getattr(tarfile, f"{kind}HeaderError") for kind in ("Empty", "Invalid", "Truncated")
)

Sample = Mapping[str, bytes | Unreadable]


def cut_archive(name: str, most: int) -> Iterator[Part]:
    """Yield the parts of a plain archive of this machine, whose headers are read once to find them.

    Args:
        name: The archive. Of one that cannot be read on, the last part is all that follows.
        most: How many samples a part has at most.
    """
    start = samples = offset = 0
    key = None
    try:
        with open_file(name) as stored, tarfile.open(fileobj=stored, mode="r:", tarinfo=_Member) as archive:
            for member, found, _ in _members(archive):
                if found == key:
                    continue
                if samples == most:
                    yield Part(start, samples, offset)
                    start, samples, offset = start + samples, 0, member.offset
                key, samples = found, samples + 1
    except (OSError, tarfile.TarError):
        yield Part(start, None, offset)
        return
    yield Part(start, samples, offset) if start else WHOLE


def read_archive(name: str, wanted: Wanted, part: Part = WHOLE) -> Iterator[Row]:
    """Yield the samples of an archive, in its order; one that cannot be read on is one row that tells why.

    A column is a member by its extension (`jpg`, `txt`, `ref.png`), or a field of the sample's `json`. The column
    `image` is the first member that is an image by its name.

    Args:
        name: The archive, compressed or not.
        wanted: The columns.
        part: Which samples; all but the whole are of a plain archive.

    Raises:
        OSError: If a store does not answer.
    """
    key = ""
    try:
        with open_file(name) as stored:
            if part.offset:
                stored.seek(part.offset)
            with tarfile.open(fileobj=stored, mode="r|*", tarinfo=_Member) as archive:
                for key, sample in islice(_samples(archive), part.rows):
                    values = {
                        source.column: _find(sample, source) for source in wanted.scored if source.column
                    }
                    values |= {column: _text(sample, column) for column in wanted.kept}
                    yield wanted.row(name, key, values)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        refuse_to_guess(name, error)
        reason = (
            f"{name} cannot be read behind {key!r}: {error}" if key else f"{name} cannot be read: {error}"
        )
        yield wanted.unreadable(name, "", reason)


class _Member(tarfile.TarInfo):
    """A member of an archive that has to end with its mark: one that was cut does not."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except _NO_HEADER as error:
            raise tarfile.ReadError(f"it ends without its end mark ({error})") from error


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, Sample]]:
    """Yield keys with their members by extension; members of a key stand together."""
    key, sample = None, dict[str, bytes | Unreadable]()
    for member, found, extension in _members(archive):
        if key is not None and key != found:
            yield key, sample
            sample = {}
        key = found
        sample[extension] = _read(archive, member)
    if key is not None:
        yield key, sample


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """Yield the members that belong to samples, each with the sample's key and its extension."""
    for member in archive:
        folder, slash, file = member.name.rpartition("/")
        stem, dot, extension = file.partition(".")
        if member.isfile() and stem and dot:
            yield member, folder + slash + stem, extension.lower()
        # An archive remembers every member that it has passed.
        archive.members = []  # type: ignore[attr-defined]


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | Unreadable:
    if member.size > _MOST_BYTES:
        return Unreadable(f"{member.name} has {member.size} bytes, more than the {_MOST_BYTES} allowed.")
    file = archive.extractfile(member)
    assert file is not None  # a file, as its caller has seen
    return file.read()


def _find(sample: Sample, source: Source) -> Any:
    column = source.column
    assert column is not None
    if column in sample:
        return sample[column]
    if source.modality == "text":
        return _field(sample, column)
    if column == _ANY_IMAGE:
        return next((data for extension, data in sample.items() if is_image_name(f"x.{extension}")), None)
    return None


def _text(sample: Sample, column: str) -> str | None:
    """A member or field that is kept, as a text."""
    found = sample.get(column)
    if isinstance(found, bytes):
        return found.decode("utf-8", errors="backslashreplace")
    return as_text(_field(sample, column))


def _field(sample: Sample, column: str) -> Any:
    data = sample.get("json")
    if not isinstance(data, bytes):
        return None
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return fields.get(column) if isinstance(fields, dict) else None
