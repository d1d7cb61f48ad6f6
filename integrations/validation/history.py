"""What a run was validated to: the score of every picture at every step, as a file of JSON lines or as a state.

The first line says what was rendered and who judged, every further one holds a step:

    {"unisim_validation": 1, "prompts": ["a red fox"], "seeds_per_prompt": 2, "seed": 0, …, "judges": {"quality": "…"}}
    {"step": 100, "scores": {"quality": [0.21, 0.24]}}
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.text_files import read_text, split_lines, write_text

from .processes import place_of_process

_FORMAT = "unisim_validation"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class Record:
    """The scores of one validation.

    Attributes:
        step: The step of the training.
        scores: For each judge the scores of all pictures, `[n]`, in the order of the plan.
    """

    step: int
    scores: Mapping[str, NDArray[np.float64]]

    def as_json(self) -> dict[str, Any]:
        """The record as JSON knows it."""
        return {
            "step": self.step, "scores": {name: values.tolist() for name, values in self.scores.items()}
        }  # fmt: skip


class History:
    """The validations of a run, by rising steps.

    Args:
        description: What was rendered and who judged, as JSON knows it: histories of others are refused.
        count: How many pictures a validation has.
        path: A file of JSON lines that follows; what it holds is read. None if there is none.

    Raises:
        ValueError: If the file holds the history of other prompts, seeds, references or judges, or none.
        OSError: If it cannot be read.
    """

    def __init__(self, description: Mapping[str, Any], count: int, path: Path | None = None) -> None:
        self.description = dict(description)
        self.count = count
        self.path = path
        self.records: list[Record] = []
        if path is not None and path.exists():
            self.records = self._read(_lines(path), str(path))

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def add(self, record: Record) -> None:
        """Add a validation; one of a step that was passed already ends what came after it.

        Warns:
            UserWarning: If validations are dropped.
        """
        kept = [known for known in self.records if known.step < record.step]
        if len(kept) < len(self.records):
            dropped = [known.step for known in self.records[len(kept) :]]
            warnings.warn(
                f"Step {record.step} is validated after step {dropped[-1]}: the training went back, and the"
                f" validations of steps {dropped} are dropped.",
                UserWarning,
                stacklevel=4,
            )
        self.records = [*kept, record]
        self._write()

    def state(self) -> dict[str, Any]:
        """All of it, in plain numbers, texts, lists and dictionaries."""
        return {
            _FORMAT: _VERSION,
            **self.description,
            "validations": [record.as_json() for record in self.records],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, in the place of all that is here.

        Raises:
            ValueError: If it is the state of other prompts, seeds, references or judges, or none.
        """
        if not isinstance(state, Mapping) or not isinstance(state.get("validations"), list):
            raise ValueError("Argument `state_dict` must be the state of a validation, but is none.")
        header = {key: value for key, value in state.items() if key != "validations"}
        self.records = self._read([header, *state["validations"]], "state_dict")
        self._write()

    def _write(self) -> None:
        if self.path is not None and place_of_process()[0] == 0:
            header = {_FORMAT: _VERSION, **self.description}
            lines = [header, *(record.as_json() for record in self.records)]
            write_text(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def _read(self, lines: list[Any], name: str) -> list[Record]:
        header = lines[0] if lines and isinstance(lines[0], Mapping) else {}
        if header.get(_FORMAT) != _VERSION:
            raise ValueError(
                f"{name} must hold the history of a validation, its first line with `{_FORMAT}: {_VERSION}`, but does"
                " not."
            )
        for key, own in self.description.items():
            if header.get(key) != own:
                raise ValueError(
                    f"{name} holds a history of other {key}, which this validation does not go on with:"
                    f" {_shorten(header.get(key))} rather than {_shorten(own)}. Give it another file, or the same"
                    " arguments."
                )
        records: list[Record] = []
        for place, line in enumerate(lines[1:], 1):
            record = self._record(line)
            if record is None or (records and record.step <= records[-1].step):
                raise ValueError(
                    f"{name} must hold validations of rising steps, with {self.count} finite scores of each of"
                    f" {list(self.description['judges'])}, but number {place} is none."
                )
            records.append(record)
        return records

    def _record(self, line: Any) -> Record | None:
        """One validation, if it is one of these prompts and judges."""
        if not isinstance(line, Mapping) or not isinstance(line.get("scores"), Mapping):
            return None
        step, scores = line.get("step"), line["scores"]
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            return None
        if scores.keys() != self.description["judges"].keys():
            return None
        for values in scores.values():
            if not isinstance(values, list) or len(values) != self.count:
                return None
            if not all(isinstance(value, float) and math.isfinite(value) for value in values):
                return None
        return Record(step, {name: np.array(scores[name]) for name in self.description["judges"]})


def _lines(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for line in split_lines(read_text(path))]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must hold lines of JSON, but does not: {error}.") from error


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
