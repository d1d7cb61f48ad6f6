"""What a score means: its percentile in a reference sample, and how likely people prefer one of two.

A calibration is a small JSON file, made by `unisim calibrate`. Each of its parts holds the signature of the scores that
it was made of, and is for scores of that signature alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unisim_metrics.text_files import read_text, write_text

SCHEMA_VERSION = 1
# Ten million scores are more than a percentile needs.
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class ReferenceSample:
    """Scores that others are held against.

    Attributes:
        signature: What made them.
        scores: The scores, ascending.
    """

    signature: str
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the scores.

        Raises:
            ValueError: If there is none, one is not finite, or they are not in ascending order.
        """
        values = np.asarray(self.scores, dtype=np.float64)
        if not len(values) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
            raise ValueError(
                f"Argument `scores` must hold finite numbers in ascending order, at least one, but got {len(values)},"
                f" {np.sum(~np.isfinite(values))} of them not finite."
            )

    def percentiles(self, scores: Sequence[float], signature: str) -> list[float]:
        """Return which share of the sample, in per cent, lies below each score; equal scores count a half.

        Args:
            scores: The scores; NaN has no percentile, which is NaN.
            signature: What made them.

        Returns:
            Percentiles in [0, 100].

        Raises:
            ValueError: If the signature is another one.
        """
        check_signature(self.signature, signature)
        known, values = np.asarray(self.scores), np.asarray(scores, dtype=np.float64)
        below, up_to = (np.searchsorted(known, values, side=side) for side in ("left", "right"))
        found = 100 * (below + up_to) / (2 * len(known))
        return [float(each) for each in np.where(np.isnan(values), math.nan, found)]


@dataclass(frozen=True)
class Preference:
    """How likely people prefer one of two, by the difference of their scores, fitted to pairs that people judged.

    Attributes:
        signature: What made the scores.
        dataset: The set of pairs.
        samples_hash: The SHA-256 of its list of samples.
        provenance: Where they are from: `"paper"`, `"subset"`, `"demo"` (nobody judged them) or `"own"`.
        n: How many pairs.
        slope: The odds are exp(slope × difference).
        low: Where the 95 % interval of the slope begins.
        high: Where it ends.
    """

    signature: str
    dataset: str
    samples_hash: str
    provenance: str
    n: int
    slope: float
    low: float
    high: float

    def chances(self, differences: Sequence[float], signature: str) -> list[float]:
        """Return how likely people prefer the first of two.

        Args:
            differences: The score of the first less that of the second, for each pair.
            signature: What made the scores.

        Returns:
            Probabilities in [0, 1].

        Raises:
            ValueError: If the signature is another one.
        """
        check_signature(self.signature, signature)
        odds = -self.slope * np.asarray(differences, dtype=np.float64)
        return [float(chance) for chance in np.exp(-np.logaddexp(0, odds))]


@dataclass(frozen=True)
class Calibration:
    """What scores of a model mean.

    Attributes:
        reference: Scores that others are held against; None if there are none.
        preference: How likely people prefer one of two; None if no pairs were asked about.
    """

    reference: ReferenceSample | None = None
    preference: Preference | None = None


def check_signature(expected: str, signature: str) -> None:
    """Raise a `ValueError` unless scores are of the signature that a calibration was made of."""
    if signature != expected:
        raise ValueError(
            f"The calibration is for scores of another signature: it was made of {expected}, but these are"
            f" {signature}."
        )


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    parts = {name: part for name, part in asdict(calibration).items() if part is not None}
    write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **parts}, indent=1) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration. What later versions add is passed over.

    Raises:
        ValueError: If the file is none. The message names the file and what is wrong.
        OSError: If it cannot be read.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} is no calibration: at most {_MOST_BYTES} bytes were expected.")
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no calibration: {error}.") from error
    if not isinstance(content, dict) or not {"reference", "preference"} & content.keys():
        raise ValueError(f"{path} is no calibration: it holds neither a reference nor a preference.")
    try:
        return Calibration(
            None if "reference" not in content else _reference(content["reference"]),
            None if "preference" not in content else _preference(content["preference"]),
        )
    except ValueError as error:
        raise ValueError(f"{path} is no calibration: {error}") from error


def _reference(part: Any) -> ReferenceSample:
    scores = _field(part, "scores", list)
    if not all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores):
        raise ValueError("scores must be numbers.")
    return ReferenceSample(_field(part, "signature", str), tuple(map(_number, scores)))


def _preference(part: Any) -> Preference:
    signature, dataset, samples_hash, provenance = (
        _field(part, name, str) for name in ("signature", "dataset", "samples_hash", "provenance")
    )
    slope, low, high = (_number(_field(part, name, (int, float))) for name in ("slope", "low", "high"))
    n = _field(part, "n", int)
    return Preference(signature, dataset, samples_hash, provenance, n, slope, low, high)


def _field(part: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    value = part.get(name) if isinstance(part, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name}: a value of another kind was expected, but got {value!r:.40}.")
    return value


def _number(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"a finite number was expected, but got {value!r:.40}.")
    return number
