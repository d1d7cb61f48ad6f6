"""What a validation found: means with their intervals, changes from step to step, and the pictures themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.differences import MeanDifference, detectable_mean, estimate_mean_difference
from unisim_metrics.statistics.intervals import Estimate
from unisim_metrics.statistics.significance import holm

from .history import Record


@dataclass(frozen=True)
class Figures:
    """What one judge says of one step.

    Intervals are those of Student's t over prompts, each by itself; p-values are two-sided and corrected by Holm for
    the number of judges. All are NaN, and p is 1, where there is one picture alone.

    Attributes:
        mean: The mean score, with its interval.
        change: By how much it is higher than at the validation before, picture by picture; None at the first.
        gain: By how much it is higher than at the first validation; None at the first.
    """

    mean: Estimate
    change: MeanDifference | None
    gain: MeanDifference | None


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a validation.

    Attributes:
        image: RGB.
        prompt: Its prompt.
        seed: Its seed.
        scores: Its score by the name of each judge.
    """

    image: Image.Image
    prompt: str
    seed: int
    scores: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class ValidationResult:
    """What a validation found; as a text, a table of all judges.

    Attributes:
        step: The step of the training.
        base_step: The step of the first validation, which gains are counted from.
        figures: What each judge says, by its name.
        is_best: Whether the judge that decides has the highest mean so far: what is to be saved.
        pictures: Some of the pictures: the first ones of as many prompts as are to be shown.
        signatures: What makes the scores of each judge; None of a function.
    """

    step: int
    base_step: int
    figures: Mapping[str, Figures]
    is_best: bool
    pictures: Sequence[Picture]
    signatures: Mapping[str, str | None]

    def scalars(self, prefix: str = "validation") -> dict[str, float]:
        """Means, changes and gains by name, with the ends of their intervals, without what is not finite.

        Args:
            prefix: What the names begin with: `validation/quality/gain_low`.
        """
        named: dict[str, float] = {}
        for judge, figures in self.figures.items():
            estimates = {
                "mean": figures.mean,
                "change": None if figures.change is None else figures.change.mean,
                "gain": None if figures.gain is None else figures.gain.mean,
            }
            for name, estimate in estimates.items():
                if estimate is not None:
                    key = f"{prefix}/{judge}/{name}"
                    named |= {key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
        return {name: value for name, value in named.items() if isfinite(value)}

    def __str__(self) -> str:
        width = max(map(len, self.figures))
        lines = [f"step {self.step}" + (", the best so far" if self.is_best else "")]
        for judge, figures in self.figures.items():
            mean = figures.mean
            cells = [f"{mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]"]
            cells += [
                f"{name} {found.mean.value:+.4f} [{found.mean.low:+.4f}, {found.mean.high:+.4f}], p = {found.p:.2g}"
                for name, found in (("change", figures.change), ("gain", figures.gain))
                if found is not None
            ]
            lines.append(f"  {judge:{width}}  {'; '.join(cells)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Flatness:
    """Whether a judge saw no gain over the last validations.

    Attributes:
        is_flat: Whether none of the last K means is significantly above the one before them.
        since: The step of that one.
        p: The smallest one-sided p-value of the K differences, times K.
        detectable: The gain that a single one of the last validations would have shown in four of five cases: a
            verdict of flat says nothing of smaller ones.
    """

    is_flat: bool
    since: int
    p: float
    detectable: float


def compare_records(
    record: Record, before: Record | None, base: Record | None, clusters: Clusters, confidence: float
) -> dict[str, Figures]:
    """Return the figures of a validation, by judge.

    Args:
        record: The validation.
        before: The validation before it, if there is one.
        base: The first validation, if this is another.
        clusters: Which pictures hang together.
        confidence: How often each interval holds the true mean, in (0, 1).
    """
    changes = _differences(record, before, clusters, confidence)
    gains = _differences(record, base, clusters, confidence)
    return {
        name: Figures(
            estimate_mean_difference(scores, clusters, confidence).mean, changes.get(name), gains.get(name)
        )
        for name, scores in record.scores.items()
    }


def _differences(
    record: Record, other: Record | None, clusters: Clusters, confidence: float
) -> dict[str, MeanDifference]:
    """Paired differences to another validation, by judge."""
    if other is None:
        return {}
    found = {
        name: estimate_mean_difference(scores - other.scores[name], clusters, confidence)
        for name, scores in record.scores.items()
    }
    corrected = holm([difference.p for difference in found.values()])
    return {
        name: MeanDifference(difference.mean, p)
        for (name, difference), p in zip(found.items(), corrected, strict=True)
    }


def find_flatness(
    curve: Sequence[tuple[int, NDArray[np.float64]]], patience: int, clusters: Clusters, confidence: float
) -> Flatness | None:
    """Test whether a curve has risen over its last validations.

    Args:
        curve: Step and scores, `[n]`, of every validation.
        patience: How many of the last ones are held against the one before them: K.
        clusters: Which pictures hang together.
        confidence: One less this is the level of the test, in (0, 1).

    Returns:
        None while there are no K + 1 validations, or a single picture tells nothing.
    """
    if len(curve) <= patience or clusters.count < 2:
        return None
    level = (1 - confidence) / patience
    since, start = curve[-patience - 1]
    differences = [scores - start for _, scores in curve[-patience:]]
    found = [estimate_mean_difference(values, clusters, confidence) for values in differences]
    smallest = min(
        difference.p / 2 if difference.mean.value > 0 else 1 - difference.p / 2 for difference in found
    )
    return Flatness(
        is_flat=smallest > level,
        since=since,
        p=min(1.0, patience * smallest),
        detectable=max(detectable_mean(values, clusters, level) for values in differences),
    )
