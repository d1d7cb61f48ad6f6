"""What a run leaves: one JSON file a model and set, and one that describes the model.

    results/<model>/<revision>/model_meta.json
    results/<model>/<revision>/<set>.json

`<revision>` is the beginning of the hash of the model's weights. Unknown fields are passed over, so that a file which
a later version wrote can be read, as long as what is known here is in it.
"""

from __future__ import annotations

import base64
import binascii
import os
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_validator
from typing_extensions import Self

__all__ = [
    "UNANSWERED",
    "Environment",
    "ModelMeta",
    "Outcome",
    "Record",
    "RunRecord",
    "SetResult",
    "read_meta",
    "read_record",
    "read_result",
    "read_results",
    "read_sets",
    "result_folder",
    "write_meta",
    "write_record",
    "write_result",
]

SCHEMA_VERSION = 1
META_NAME = "model_meta.json"
UNANSWERED = 255
"""The choice of a sample that has none: an image could not be read, or an answer not be parsed."""

_REVISION_LENGTH = 12


def _pack(array: NDArray[Any]) -> str:
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return f"{array.dtype.name}:{base64.b85encode(zlib.compress(raw, 9)).decode()}"


def _unpack(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name, _, data = value.partition(":")
    if name not in ("uint8", "float64"):
        raise ValueError(f"a packed array of uint8 or float64 was expected, got {value[:20]!r}")
    try:
        raw = zlib.decompress(base64.b85decode(data))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise ValueError(f"a packed array was expected, got {value[:20]!r}") from error
    return np.frombuffer(raw, dtype=np.dtype(name).newbyteorder("<")).astype(name)


Choices = Annotated[NDArray[np.uint8], BeforeValidator(_unpack), PlainSerializer(_pack, return_type=str)]
Values = Annotated[NDArray[np.float64], BeforeValidator(_unpack), PlainSerializer(_pack, return_type=str)]


class Record(BaseModel):
    """A part of a file."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True, frozen=True, extra="ignore", protected_namespaces=()
    )


class Outcome(Record):
    """How a model answered a set in one way.

    Attributes:
        method: The way, for quality and attributes; None where there is one way only.
        signature: What made the figure.
        figure: The accuracy; for retrieval the mean of mAP Medium and Hard. In [0, 1].
        low: Where its 95 % bootstrap interval begins.
        high: Where that ends.
        choices: The index of the chosen alternative of each sample, or `UNANSWERED`; None for retrieval.
        average_precision: For retrieval: of each query, by protocol; NaN for a query that has none.
    """

    method: Literal["naive", "clip-iqa"] | None = None
    signature: str
    figure: float
    low: float
    high: float
    choices: Choices | None = None
    average_precision: dict[Literal["medium", "hard"], Values] | None = None


class Environment(Record):
    """Where a figure was made.

    Attributes:
        python: Its version.
        platform: The machine, as `platform.platform()` names it.
        device: The kind of device, `"cpu"` or `"cuda"`, and its name.
        packages: The versions of the libraries that figures depend on.
    """

    python: str
    platform: str
    device: str
    packages: dict[str, str]


class RunRecord(Record):
    """What differs from one run to the next without a change of the figure.

    Attributes:
        finished: When it ended, ISO 8601 in UTC.
        seconds: How long the set took, without what other sets had encoded before.
        images_encoded: Images that went through the model for this set.
        texts_encoded: Texts likewise.
        peak_memory_bytes: The largest memory of the process so far, or of its accelerator where it used one.
        processes: How many worked together.
    """

    finished: str
    seconds: float
    images_encoded: int
    texts_encoded: int
    peak_memory_bytes: int
    processes: int = 1


class SetResult(Record):
    """What a model achieved on a set.

    Attributes:
        schema_version: The version of this layout.
        dataset: The set's id.
        task: What the set asks, in the words of the metrics, or `"retrieval"`.
        split: Which samples.
        seed: Which draw of them.
        n: How many samples, or queries.
        samples_hash: The SHA-256 of the list of samples.
        labels: The right alternative of each sample; None for retrieval.
        demonstrations: Solved samples that a generative model was shown before each.
        unreadable: The images that could not be read, relative to the data root.
        lost: How many samples have no choice for that reason; they are not counted in the figures.
        outcomes: The figures, one a method.
        environment: Where they were made.
        run: What is different the next time.
    """

    schema_version: int = SCHEMA_VERSION
    dataset: str
    task: str
    split: str = "test"
    seed: int = 0
    n: int
    samples_hash: str
    labels: Choices | None = None
    demonstrations: int = 0
    unreadable: tuple[str, ...] = ()
    lost: int = 0
    outcomes: tuple[Outcome, ...]
    environment: Environment
    run: RunRecord

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        parts: list[tuple[str, NDArray[Any] | None]] = [("labels", self.labels)]
        for outcome in self.outcomes:
            parts += [("choices", outcome.choices), *(outcome.average_precision or {}).items()]
        for name, values in parts:
            if values is not None and len(values) != self.n:
                raise ValueError(f"{name} of {self.n} samples were expected, got {len(values)}")
        return self

    def outcome(self, method: str | None = None) -> Outcome:
        """Return the figures of a method.

        Raises:
            KeyError: If the set was not answered in that way.
        """
        for outcome in self.outcomes:
            if outcome.method == method:
                return outcome
        raise KeyError(method)


class ModelMeta(Record):
    """Which model the files beside it are of.

    Attributes:
        schema_version: The version of this layout.
        name: What the signatures call it.
        weights_hash: SHA-256 of the weights.
        input_tag: How images are prepared.
        parameters: How many weights it has.
        library_version: The version of `unisim-metrics`.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    weights_hash: str
    input_tag: str
    parameters: int
    library_version: str


AnyRecord = TypeVar("AnyRecord", bound=Record)


def result_folder(results: Path, name: str, weights_hash: str) -> Path:
    """Return where the files of a model lie: a `/` in its name becomes `__`."""
    return results / name.strip("/").replace("/", "__") / weights_hash[:_REVISION_LENGTH]


def write_result(folder: Path, result: SetResult) -> Path:
    """Write the file of a set, whole or not at all, and return its path."""
    return write_record(folder / f"{result.dataset}.json", result)


def write_meta(folder: Path, meta: ModelMeta) -> Path:
    """Write the file that describes the model, whole or not at all, and return its path."""
    return write_record(folder / META_NAME, meta)


def read_result(path: Path) -> SetResult:
    """Read the file of a set.

    Raises:
        ValueError: If it is none. The message names file and field.
    """
    return read_record(path, SetResult)


def read_meta(folder: Path) -> ModelMeta:
    """Read the file that describes the model.

    Raises:
        ValueError: If it is none. The message names file and field.
    """
    return read_record(folder / META_NAME, ModelMeta)


def read_sets(folder: Path) -> dict[str, SetResult]:
    """Read the files of all sets in the folder of a model, by set.

    Raises:
        ValueError: If one is none. The message names file and field.
    """
    files = (path for path in sorted(folder.glob("*.json")) if path.name != META_NAME)
    return {result.dataset: result for result in map(read_result, files)}


def read_results(results: Path) -> Iterator[tuple[ModelMeta, dict[str, SetResult]]]:
    """Read all models under a folder, each with its results by set, sorted by folder."""
    for meta in sorted(results.glob(f"*/*/{META_NAME}")):
        yield read_meta(meta.parent), read_sets(meta.parent)


def write_record(path: Path, record: Record) -> Path:
    """Write a record, whole or not at all, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed at the end: a reader, or a run that goes on after a kill, never sees half a file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """Read a record of a kind.

    Raises:
        ValueError: If the file is none. The message names file and field.
    """
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, first["loc"])) or "whole file"
        raise ValueError(f"{path} is no {kind.__name__}: {place}: {first['msg']}") from error
