"""What was measured on other samples than the paper's: in no table, average or figure beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from ..provenance import TITLES, Provenance
from ..results.files import SetResult
from ..results.summary import summarize
from ..statistics.intervals import Estimate
from .measurements import Measurement

NOTE = (
    "Measured on other samples than the paper's sets: on a part of them, on the demo's stand-ins, which nobody"
    " judged, on sets of one's own, or by a version that did not write down which. None of it stands beside the"
    " paper's figures, in an average or in a chart."
)
HEADS = ("Model", "Samples", "Set", "n", "Figure", "95 % interval", "Notes")

_ORDER: tuple[Provenance | None, ...] = ("paper", "subset", "own", "demo", None)


@dataclass(frozen=True)
class ApartRow:
    """A model's figure on a set that is not the paper's.

    Attributes:
        id: The model, as other rows have it.
        name: What tables call it.
        result: What was measured.
        figure: The share, with its 95 % interval, answered in the way that is better over the model's sets of the kind.
    """

    id: str
    name: str
    result: SetResult
    figure: Estimate

    @property
    def samples(self) -> str:
        """Where the samples are from, in words."""
        return TITLES[self.result.provenance]


def apart_rows(measurements: Iterable[Measurement], names: Mapping[str, str]) -> tuple[ApartRow, ...]:
    """Return a row for each result that is not of the paper's samples: by model, by kind, in the order of sets.

    Args:
        measurements: What was measured.
        names: What tables call the models.
    """

    def kind(result: SetResult) -> tuple[int, int]:
        return _ORDER.index(result.provenance), result.demonstrations

    rows = []
    for measured in measurements:
        for _, group in groupby(sorted(measured.apart, key=kind), key=kind):
            results = {result.dataset: result for result in group}
            figures = summarize(results).datasets
            rows += [
                ApartRow(measured.id, names[measured.id], results[name], figure)
                for name, figure in figures.items()
            ]
    return tuple(rows)


def describe(row: ApartRow) -> tuple[str, ...]:
    """Return what stands below `HEADS`."""
    result, figure = row.result, row.figure
    notes = [f"{result.demonstrations} demonstrations"] if result.demonstrations else []
    notes += [f"{result.lost:,} lost"] if result.lost else []
    notes += [f"{result.unnamed_answers:,} answers name no alternative"] if result.unnamed_answers else []
    notes += [f"{result.truncated_texts:,} texts cut"] if result.truncated_texts else []
    return (
        row.name,
        row.samples,
        result.dataset,
        f"{result.n:,}",
        f"{100 * figure.value:.1f}",
        f"{100 * figure.low:.1f}–{100 * figure.high:.1f}",
        ", ".join(notes),
    )
