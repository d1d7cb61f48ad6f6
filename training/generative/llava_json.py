"""Instruction data in the form of LLaVA: conversations with `<image>` where an image stands.

A file is a JSON list, or JSON Lines, of

    {"id": "…", "image": ["a.png", "b.png"],
     "conversations": [{"from": "human", "value": "<image><image> Which …?"}, {"from": "gpt", "value": "A"}],
     "metadata": {"dataset": "…", "task": "…"}}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unisim_metrics.models.generative.instructions import IMAGE
from unisim_metrics.text_files import read_text, split_lines

Role = Literal["user", "assistant"]

_ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_NAMES: dict[Role, str] = {"user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Turn:
    """What one side says; `<image>` stands for an image."""

    role: Role
    text: str


@dataclass(frozen=True)
class Record:
    """A conversation about images, in which user and assistant take turns, the user first, the assistant last.

    Attributes:
        id: Its name.
        images: Files, in the order in which the turns refer to them.
        turns: What is said.
        metadata: What else is known, as JSON; `dataset` and `task` where it was made of a triplet.

    Raises:
        ValueError: If the turns do not alternate, one is empty, an answer holds an image, or there are not as many
            `<image>` as images.
    """

    id: str
    images: tuple[Path, ...]
    turns: tuple[Turn, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles = [turn.role for turn in self.turns]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError(
                f"the turns must alternate between human and gpt, from human to gpt, but they are {roles}"
            )
        for place, turn in enumerate(self.turns):
            if not turn.text.strip():
                raise ValueError(f"a turn must say something, but turn {place} is empty")
            if turn.role == "assistant" and IMAGE in turn.text:
                raise ValueError(f"an answer must hold no {IMAGE}, but turn {place} does")
        places = sum(turn.text.count(IMAGE) for turn in self.turns)
        if places != len(self.images):
            raise ValueError(
                f"there must be as many {IMAGE} as images, but there are {places} and {len(self.images)}"
            )

    def to_dict(self, root: Path) -> dict[str, Any]:
        """Return the record as the file holds it, its images relative to `root`.

        Raises:
            ValueError: If an image does not lie under `root`.
        """
        content: dict[str, Any] = {
            "id": self.id,
            "image": [image.relative_to(root).as_posix() for image in self.images],
            "conversations": [{"from": _NAMES[turn.role], "value": turn.text} for turn in self.turns],
        }
        return content | ({"metadata": dict(self.metadata)} if self.metadata else {})


def write_records(file: Path, records: Iterable[Record], root: Path) -> int:
    """Write records as a JSON list, one a line, and return how many; the file appears only when it is complete.

    Args:
        file: The file.
        records: The records; they are taken one by one.
        root: The folder that images are named relative to.
    """
    partial = file.with_name(f".{file.name}.partial")
    count = 0
    try:
        with open(partial, "w", encoding="utf-8") as stream:
            stream.write("[")
            for count, record in enumerate(records, start=1):
                stream.write(",\n" if count > 1 else "\n")
                json.dump(record.to_dict(root), stream, ensure_ascii=False)
            stream.write("\n]\n")
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    return count


def read_records(file: Path, images: Path | None = None, min_images: int = 0) -> list[Record]:
    """Read an instruction file of LLaVA's form; no image is opened.

    `id` may also be `sample_id`, or missing; `image` may be `images`, one file's name, or missing; `from` may be
    `user` and `assistant`. Other fields are passed over.

    Args:
        file: A JSON list, or JSON Lines (`.jsonl`).
        images: The folder that images are named relative to; the file's own by default.
        min_images: Records with fewer images are left out: 2 takes the multi-image part of a set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file or a record is malformed; the message names the file and the record.
    """
    folder = file.parent if images is None else images
    records = []
    for place, entry in enumerate(_entries(file)):
        try:
            record = _record(entry, folder, f"{file.stem}-{place}")
        except ValueError as error:
            name = entry.get("id", entry.get("sample_id")) if isinstance(entry, dict) else None
            named = "" if name is None else f" (id {name!r})"
            raise ValueError(f"Record {place}{named} of {file} is malformed: {error}.") from error
        if len(record.images) >= min_images:
            records.append(record)
    return records


def _entries(file: Path) -> list[Any]:
    text = read_text(file)
    try:
        if file.suffix == ".jsonl":
            return [json.loads(line) for line in split_lines(text) if line.strip()]
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"The instruction file {file} is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(
            f"The instruction file {file} must hold a list of records, but holds a {type(entries).__name__}."
        )
    return entries


def _record(entry: Any, folder: Path, name: str) -> Record:
    if not isinstance(entry, dict):
        raise ValueError(f"it must be an object, but is a {type(entry).__name__}")
    images = entry.get("image", entry.get("images")) or []
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise ValueError(f"`image` must be a file's name or a list of them, but is {images!r}")
    turns = entry.get("conversations")
    if not isinstance(turns, list):
        raise ValueError(f"`conversations` must be a list, but is {turns!r}")
    metadata = entry.get("metadata")
    return Record(
        str(entry.get("id", entry.get("sample_id", name))),
        tuple(folder / image for image in images),
        tuple(_turn(turn) for turn in turns),
        metadata if isinstance(metadata, dict) else {},
    )


def _turn(turn: Any) -> Turn:
    if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
        raise ValueError(f"a turn must be an object with `from` and `value`, but is {turn!r}")
    if turn.get("from") not in _ROLES:
        raise ValueError(f"`from` must be one of {tuple(_ROLES)}, but is {turn.get('from')!r}")
    return Turn(_ROLES[turn["from"]], turn["value"])
