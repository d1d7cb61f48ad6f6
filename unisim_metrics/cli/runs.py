"""Files of scores that `unisim score` wrote: read, and their rows paired with each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from unisim_metrics.cli.pairs import Pair
from unisim_metrics.cli.tables import TABLE_SUFFIXES, read_rows
from unisim_metrics.text_files import read_text

_MOST_NAMED = 5


class PairBy(str, Enum):
    """What rows of several runs are paired by."""

    TEXT = "text"
    REFERENCE = "reference"
    NAME = "name"


@dataclass(frozen=True)
class Entry:
    """A row of a run.

    Attributes:
        place: Where it stands in the file, for messages.
        pair: What was scored.
        score: Its score; None where something could not be read.
    """

    place: str
    pair: Pair
    score: float | None


@dataclass(frozen=True)
class Run:
    """A file of scores.

    Attributes:
        path: The file.
        signature: What made the scores.
        entries: Its rows.
    """

    path: Path
    signature: str
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Matched:
    """Rows of several runs that belong together.

    Attributes:
        by: What they are paired by.
        labels: What each pairing is called.
        entries: The row of each run, for each label.
        unmatched: For each run the labels of rows that not all other runs have.
        unscored: The labels that one of the runs has no score for.
    """

    by: PairBy
    labels: Sequence[str]
    entries: Sequence[Sequence[Entry]]
    unmatched: Sequence[Sequence[str]]
    unscored: Sequence[str]


def read_run(path: Path) -> Run:
    """Read a file of scores: JSON, CSV, TSV or JSONL as `unisim score` writes it.

    Raises:
        ValueError: If it is another kind of file, a row is none of a score, or the signature is missing or not one.
        OSError: If it cannot be read.
    """
    suffix = path.suffix.lower()
    rows: list[tuple[str, Mapping[str, Any]]]
    if suffix == ".json":
        signatures, rows = _read_json(path)
    elif suffix in TABLE_SUFFIXES:
        found = read_rows(path)
        rows = [(row.place, row.values) for row in found]
        signatures = [row.values.get("signature") for row in found]
    else:
        raise ValueError(
            f"{path} must be a .json or .csv file of scores, written by `unisim score … --output FILE`."
        )
    if not rows:
        raise ValueError(f"{path}: no scores in it.")
    signature = signatures[0]
    if not isinstance(signature, str) or not signature.strip():
        raise ValueError(
            f"{path}: the scores have no signature, which tells what made them. Write them by"
            " `unisim score … --output FILE.json` (or .csv)."
        )
    other = next((index for index, found in enumerate(signatures) if found != signature), None)
    if other is not None:
        raise ValueError(
            f"{path}: all scores must have one signature, but {rows[0][0]} has {signature!r} and {rows[other][0]}"
            f" {signatures[other]!r}."
        )
    return Run(path, signature, [_entry(path, place, values) for place, values in rows])


def check_signatures(runs: Sequence[Run]) -> None:
    """Check that scores were made alike.

    Raises:
        ValueError: If the signatures of two runs differ. It names both files and both signatures.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.signature != first.signature:
            raise ValueError(
                f"Scores must have one signature to be compared, but those of {first.path} have {first.signature}, and"
                f" those of {run.path} {run.signature}."
            )


def match_runs(runs: Sequence[Run], by: PairBy | None = None) -> Matched:
    """Pair the rows of several runs.

    Args:
        runs: The runs.
        by: What rows are paired by: their text, the name of their reference image, or that of their image. A name is
            the shortest end of a path, without its suffix, that tells all rows of each run apart. None takes the first
            of the three that all rows have, that no two rows of a run share, and that the runs have in common.

    Raises:
        ValueError: If rows have no such label, or share one, the runs have none in common, or rows that are paired by
            name are held against different texts.
    """
    if by is not None:
        return _match(runs, by)
    problem = ValueError("Runs must have images, or captions and references, in all rows to be paired.")
    for each in PairBy:
        if all(_label(entry.pair, each) is not None for run in runs for entry in run.entries):
            try:
                return _match(runs, each)
            except ValueError as error:
                problem = error
    raise problem


def shorten(labels: Sequence[str]) -> str:
    """Return labels as a list for a message, the first of them if they are many."""
    named = ", ".join(repr(label) for label in labels[:_MOST_NAMED])
    return named if len(labels) <= _MOST_NAMED else f"{named} and {len(labels) - _MOST_NAMED} more"


def _read_json(path: Path) -> tuple[list[Any], list[tuple[str, Mapping[str, Any]]]]:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}).") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise ValueError(f"{path} must hold a list of objects as 'results', as `unisim score` writes it.")
    rows = [(f"result {number}", row) for number, row in enumerate(results, start=1)]
    return [content.get("signature")], rows


def _entry(path: Path, place: str, values: Mapping[str, Any]) -> Entry:
    texts = {name: values.get(name) for name in ("image", "caption", "text", "reference")}
    wrong = next(
        (name for name, value in texts.items() if not (value is None or isinstance(value, str))), None
    )
    if wrong is not None:
        raise ValueError(f"{path}: {place} must hold a text as {wrong!r}, but got {texts[wrong]!r}.")
    if bool(texts["image"]) == bool(texts["caption"]) or (texts["caption"] and not texts["reference"]):
        raise ValueError(
            f"{path}: {place} must have an 'image', or a 'caption' and a 'reference', as `unisim score` writes them,"
            f" but has {sorted(name for name, value in values.items() if value)}."
        )
    candidate = texts["caption"] or Path(texts["image"] or "")
    reference = texts["text"] or (Path(texts["reference"]) if texts["reference"] else None)
    return Entry(place, Pair(candidate, reference), _score(path, place, values.get("score")))


def _score(path: Path, place: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"{path}: {place} must hold a finite number as 'score', but got {value!r}.")
    return score


def _match(runs: Sequence[Run], by: PairBy) -> Matched:
    labels = _labels(runs, by)
    rows = [dict(zip(own, run.entries, strict=True)) for own, run in zip(labels, runs, strict=True)]
    common = [label for label in labels[0] if all(label in other for other in rows)]
    if not common:
        listed = "; ".join(f"{run.path} has {shorten(own)}" for run, own in zip(runs, labels, strict=True))
        raise ValueError(f"Runs must have a {by.value} in common to be paired by it, but {listed}.")
    if by is not PairBy.TEXT:
        for label in common:
            _check_texts(runs, by, label, [own[label] for own in rows])
    scored = [label for label in common if all(own[label].score is not None for own in rows)]
    if not scored:
        raise ValueError("Runs must have a score in common, but for every pairing one of them has none.")
    return Matched(
        by,
        scored,
        [[own[label] for own in rows] for label in scored],
        [[label for label in own if not all(label in other for other in rows)] for own in labels],
        [label for label in common if any(own[label].score is None for own in rows)],
    )


def _check_texts(runs: Sequence[Run], by: PairBy, label: str, entries: Sequence[Entry]) -> None:
    texts = [_label(entry.pair, PairBy.TEXT) for entry in entries]
    other = next((index for index, text in enumerate(texts) if text != texts[0]), None)
    if other is not None:
        raise ValueError(
            f"Rows that are paired by {by.value} must be held against the same text, but {label!r} is held against"
            f" {texts[0]!r} in {runs[0].path}, {entries[0].place}, and against {texts[other]!r} in {runs[other].path},"
            f" {entries[other].place}."
        )


def _label(pair: Pair, by: PairBy) -> str | Path | None:
    if by is PairBy.TEXT:
        return pair.reference if isinstance(pair.reference, str) else None
    item = pair.reference if by is PairBy.REFERENCE else pair.candidate
    return item if isinstance(item, Path) else None


def _labels(runs: Sequence[Run], by: PairBy) -> list[list[str]]:
    """Return the label of each row of each run.

    Raises:
        ValueError: If a row has none, or two rows of a run have the same.
    """
    columns: list[list[str | Path]] = []
    for run in runs:
        found = [_label(entry.pair, by) for entry in run.entries]
        if None in found:
            place = run.entries[found.index(None)].place
            raise ValueError(f"{run.path}: {place} has no {by.value} to be paired by.")
        columns.append([label for label in found if label is not None])
    labels = _tell_apart(columns)
    for run, own in zip(runs, labels, strict=True):
        places: dict[str, list[str]] = {}
        for entry, label in zip(run.entries, own, strict=True):
            places.setdefault(label, []).append(entry.place)
        repeated = {label: found for label, found in places.items() if len(found) > 1}
        if repeated:
            label, twice = next(iter(repeated.items()))
            raise ValueError(
                f"{run.path}: every row must have another {by.value} to be paired by it, but {len(repeated)} are there"
                f" several times: {label!r} in {', '.join(twice)}."
            )
    return labels


def _tell_apart(columns: Sequence[Sequence[str | Path]]) -> list[list[str]]:
    """Return texts as they are, and of paths the shortest ends that tell those of each run apart, without suffix."""
    depth = max(
        (len(item.parts) for column in columns for item in column if isinstance(item, Path)), default=1
    )
    for parts in range(1, depth + 1):
        labels = [
            [
                item if isinstance(item, str) else "/".join((*item.parts[:-1], item.stem)[-parts:])
                for item in column
            ]
            for column in columns
        ]
        if all(len(set(own)) == len(own) for own in labels):
            break
    return labels
