"""What a run leaves: one JSON file a model and set, and one that describes the model.

    results/<model>/<revision>/model_meta.json
    results/<model>/<revision>/<set>.json

`<revision>` is the beginning of the hash of the model's weights; `<revision>-demonstrations-2` holds results of the
same weights after two solved samples.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from unisim_metrics.statistics.clusters import Clusters, repeats_label

from ..provenance import Provenance
from ..tasks import TASKS
from .records import (
    Amount,
    Choices,
    Count,
    Hash,
    Labels,
    Line,
    Record,
    Share,
    Values,
    read_record,
    write_record,
)

if TYPE_CHECKING:
    import torch

SCHEMA_VERSION = 1
META_NAME = "model_meta.json"
UNANSWERED = 255
"""The choice of a sample that was not judged: an image could not be read. It is in no figure."""
NO_ALTERNATIVE = 254
"""The choice in an answer that names no alternative. It counts as wrong, as in the paper."""

_PACKAGES = (
    "unisim-metrics",
    "torch",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "peft",
    "numpy",
    "pillow",
)

_REVISION_LENGTH = 12
_DEMONSTRATIONS = "-demonstrations-"
_LONGEST_NAME = 120
# Far more than any set has; each costs twice the time of the one before.
_MOST_WAYS = 8


class Outcome(Record):
    """How a model answered a set in one way.

    Attributes:
        method: The way, for quality and attributes; None where there is one way only.
        signature: What made the figure.
        figure: The accuracy; for retrieval the mean of mAP Medium and Hard. In [0, 1].
        low: Where its 95 % interval begins.
        high: Where that ends.
        choices: The index of the chosen alternative of each sample, or `UNANSWERED` or
            `NO_ALTERNATIVE`; None for retrieval.
        average_precision: For retrieval: of each query, by protocol; NaN for a query that has none.
    """

    method: Literal["naive", "clip-iqa"] | None = None
    signature: Line
    figure: Share
    low: Share
    high: Share
    choices: Choices | None = None
    average_precision: dict[Literal["medium", "hard"], Values] | None = None

    def values(self, labels: NDArray[np.uint8] | None) -> NDArray[np.float64]:
        """Return what each sample contributes to the figure: 1 for a right choice, 0 for a wrong one, NaN for none.

        Args:
            labels: The right alternative of each sample; None for retrieval.

        Returns:
            Shape `[n]`. For retrieval `[n, 2]`: the average precision of each query by the protocols Medium and Hard,
            NaN where a query has none.
        """
        if self.average_precision is not None:
            return np.stack([self.average_precision["medium"], self.average_precision["hard"]], axis=1)
        return np.where(self.choices == UNANSWERED, np.nan, self.choices == labels)


class Environment(Record):
    """Where a figure was made.

    Attributes:
        python: Its version.
        platform: The machine, as `platform.platform()` names it.
        device: The kind of device, `"cpu"` or `"cuda"`, and its name.
        packages: The versions of the libraries that figures depend on.
    """

    python: Line
    platform: Line
    device: Line
    packages: dict[Line, Line]


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

    finished: Line
    seconds: Amount
    images_encoded: Count
    texts_encoded: Count
    peak_memory_bytes: Count
    processes: Count = 1


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
        provenance: Where the samples are from; None in files of a version that did not write it down.
        labels: The right alternative of each sample; None for retrieval.
        clusters: Which samples hang together, by labels, one list a way; none where no two share anything; None in
            files of a version that did not write it down, whose samples are taken for independent.
        demonstrations: Solved samples that a generative model was shown before each.
        unreadable: The images that could not be read, relative to the data root.
        lost: How many samples have no choice for that reason; they are not counted in the figures.
        unnamed_answers: How many answers of a generative model name no alternative; they count as wrong.
        truncated_texts: How many of the set's texts were cut to the model's context; None if that is not known.
        outcomes: The figures, one a method.
        environment: Where they were made.
        run: What is different the next time.
    """

    schema_version: int = SCHEMA_VERSION
    dataset: Line
    task: Line
    split: Line = "test"
    seed: int = 0
    n: Annotated[Count, Field(ge=1)]
    samples_hash: Hash
    provenance: Provenance | None = None
    labels: Choices | None = None
    clusters: Annotated[tuple[Labels, ...], Field(max_length=_MOST_WAYS)] | None = None
    demonstrations: Count = 0
    unreadable: tuple[str, ...] = ()
    lost: Count = 0
    unnamed_answers: Count = 0
    truncated_texts: Count | None = None
    outcomes: tuple[Outcome, ...]
    environment: Environment
    run: RunRecord

    @field_validator("task")
    @classmethod
    def _check_task(cls, task: str) -> str:
        kinds = tuple(kind for known in TASKS for kind in known.kinds)
        if task not in kinds:
            raise ValueError(f"one of {kinds} was expected")
        return task

    @field_validator("unreadable")
    @classmethod
    def _printable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        # A name of bytes that are no text holds halves of surrogate pairs, which no file can.
        return tuple(name.encode("utf-8", "backslashreplace").decode() for name in names)

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        parts: list[tuple[str, NDArray[Any] | None]] = [("labels", self.labels)]
        parts += [("clusters", labels) for labels in self.clusters or ()]
        for outcome in self.outcomes:
            parts += [("choices", outcome.choices), *(outcome.average_precision or {}).items()]
        for name, values in parts:
            if values is not None and len(values) != self.n:
                raise ValueError(f"{name} of {self.n} samples were expected, got {len(values)}")
        if self.clusters and repeats_label(np.stack(self.clusters, axis=1)).any():
            raise ValueError("clusters that give no sample a label twice were expected")
        return self

    @property
    def shared(self) -> Clusters:
        """Which samples hang together: none where the file does not say."""
        return Clusters.of_columns(self.clusters or (), self.n)

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
        unanswered: What sets ask and the model cannot answer, with the reason.
        demonstrations: Solved samples that it was shown before each; None in files of a version that did not write it
            down: the results tell.
    """

    schema_version: int = SCHEMA_VERSION
    name: Line
    weights_hash: Hash
    input_tag: Line
    parameters: Count
    library_version: Line
    unanswered: dict[Line, Line] = Field(default_factory=dict)
    demonstrations: Count | None = None


def describe_environment(device: torch.device) -> Environment:
    """Return the machine, and the versions of what figures depend on."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        device=f"{device.type} {name}".strip(),
        packages={package: metadata.version(package) for package in _PACKAGES},
    )


def result_folder(results: Path, name: str, weights_hash: str, demonstrations: int = 0) -> Path:
    """Return where the files of a model lie, whatever it is called: always two folders below `results`.

    Results after demonstrations have a folder of their own.
    """
    shown = f"{_DEMONSTRATIONS}{demonstrations}" if demonstrations else ""
    return results / folder_name(name) / f"{weights_hash[:_REVISION_LENGTH]}{shown}"


def find_revisions(model: Path, beginning: str = "") -> list[Path]:
    """Return the folders of results in the folder of a model, sorted.

    Where there are results of a revision without demonstrations, those after demonstrations have to be named in full.

    Args:
        model: The folder of the model.
        beginning: What their names begin with.
    """
    found = [meta.parent for meta in sorted(model.glob(f"{beginning}*/{META_NAME}"))]
    names = {folder.name for folder in found}
    return [
        folder
        for folder in found
        if _DEMONSTRATIONS not in folder.name or folder.name.partition(_DEMONSTRATIONS)[0] not in names
    ]


def folder_name(name: str) -> str:
    """Return the folder of a model: a `/` in its name becomes `__`.

    A name that no folder can have, or that would lead elsewhere, is changed and gets the beginning of its hash.
    """
    plain = name.strip("/").replace("/", "__")
    safe = (
        re.sub(r'[\x00-\x1f\x7f<>:"\\|?*\ud800-\udfff]', "_", plain).rstrip(". ").lstrip(".")[:_LONGEST_NAME]
    )
    if safe == plain and safe:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


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
        ValueError: If one is none, or is not named after its set. The message names file and field.
    """
    files = [path for path in sorted(folder.glob("*.json")) if path.name != META_NAME]
    results = {path: read_result(path) for path in files}
    for path, result in results.items():
        if path.stem != result.dataset:
            raise ValueError(
                f"{path} is no SetResult: dataset: {path.stem!r} was expected, got {result.dataset!r}"
            )
    return {result.dataset: result for result in results.values()}


def read_model(folder: Path) -> tuple[ModelMeta, dict[str, SetResult]]:
    """Read what is in the folder of a model: what describes it, and its results by set.

    Raises:
        ValueError: If a file is none, or its result is after another number of demonstrations than the folder is for.
            The message names file and field.
    """
    meta, found = read_meta(folder), read_sets(folder)
    for name, result in found.items():
        if meta.demonstrations not in (None, result.demonstrations):
            raise ValueError(
                f"{folder / name}.json is no SetResult: demonstrations: {meta.demonstrations} were expected, got"
                f" {result.demonstrations}"
            )
    return meta, found


def read_results(results: Path) -> Iterator[tuple[ModelMeta, dict[str, SetResult]]]:
    """Read all models under a folder, each with its results by set, sorted by folder."""
    for meta in sorted(results.glob(f"*/*/{META_NAME}")):
        yield read_model(meta.parent)


def count_demonstrations(results: Mapping[str, SetResult]) -> int:
    """Return after how many demonstrations the results of a model are.

    Args:
        results: The results of one model, by set.

    Raises:
        ValueError: If some are after more than others: they are in no figure together.
    """
    by_number: dict[int, list[str]] = {}
    for name, result in results.items():
        by_number.setdefault(result.demonstrations, []).append(name)
    if len(by_number) > 1:
        found = ", ".join(f"{number} for {sorted(names)}" for number, names in sorted(by_number.items()))
        raise ValueError(
            f"Argument `results` must hold results after one number of demonstrations, but got {found}."
        )
    return next(iter(by_number), 0)
