"""Competitors on the same trials, generators over prompts or runs over images: the verdict in tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisim_metrics.cli.output import Result, shown_p, signed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from unisim_metrics.statistics.intervals import Estimate
    from unisim_metrics.statistics.verdict import Duel, Standing, Verdict

# So many pairs are told one by one; of more, each competitor and the next.
_MOST_SENTENCES = 10
# Below this many trials a tenth of a per cent says nothing.
_FINE = 1000


@dataclass(frozen=True)
class Contest:
    """What competitors scored on the same trials.

    Attributes:
        kind: What the competitors are: "generator" or "run".
        names: What each is called, all different.
        unit: What the trials are, in the plural: "prompts".
        trials: What each trial is called: its prompt, or the name of its images.
        items: What each competitor made for each trial: a picture's file, or a text.
        scores: `[trials, competitors]`.
        groups: What each trial is held against, where it is: trials of equal groups hang together.
        signature: What made the scores.
        confidence: Of the intervals.
    """

    kind: str
    names: Sequence[str]
    unit: str
    trials: Sequence[str]
    items: Sequence[Sequence[Path | str]]
    scores: NDArray[np.float64]
    groups: Sequence[str] | None
    signature: str
    confidence: float

    @cached_property
    def verdict(self) -> Verdict:
        """Which of them is better."""
        from unisim_metrics.statistics.verdict import judge

        return judge(self.scores, None if self.is_of_one_group else self.groups, self.confidence)

    @property
    def is_of_one_group(self) -> bool:
        """Whether all trials are held against the same: then the question is about that alone."""
        return self.groups is not None and len(set(self.groups)) == 1

    @property
    def title(self) -> str:
        """A heading."""
        return f"{len(self.names)} {self.kind}s over {self._counted(len(self.trials))}"

    def told_duels(self) -> list[Duel]:
        """Return the pairs that are told one by one: all, or of many only those that follow each other."""
        order = [standing.index for standing in self.verdict.standings]
        if len(self.verdict.duels) <= _MOST_SENTENCES:
            return list(self.verdict.duels)
        follow = [set(pair) for pair in pairwise(order)]
        return [duel for duel in self.verdict.duels if {duel.first, duel.second} in follow]

    def sentences(self) -> list[str]:
        """Return the verdict in sentences: who beats whom, and what is still open."""
        return [self._sentence(duel) for duel in self.told_duels()]

    def remarks(self) -> list[str]:
        """Return what to know of the figures."""
        verdict = self.verdict
        pairs = len(verdict.duels)
        holm = f", corrected for {pairs} pairs (Holm)" if pairs > 1 else ""
        remarks = [
            f"p: exact sign test{holm}. Brackets: {100 * self.confidence:g} % intervals, each by itself."
        ]
        shares = [duel.detectable for duel in verdict.duels if duel.ties < verdict.trials]
        known = [share for share in shares if share is not None]
        if len(known) < len(shares):
            remarks.append(
                f"So few {self.unit} would not show even a share of wins of 100 % in 80 % of cases."
            )
        elif shares:
            remarks.append(
                f"{verdict.trials:,} such {self.unit} show a true share of wins of {100 * max(known):.0f} % or more in"
                " 80 % of cases, were it the only pair."
            )
        if self.is_of_one_group and len(self.trials) > 1:
            remarks.append(f"All {self.unit} are held against the same: the verdict is about that alone.")
        elif verdict.clusters < verdict.trials:
            remarks.append(
                f"The {verdict.trials:,} {self.unit} share {verdict.clusters:,} texts or references; all of one count"
                " as one group."
            )
        if verdict.regularised:
            remarks.append(
                "Some never lost to others: for finite strengths each two were given half a win each way."
            )
        return remarks

    def result(
        self,
        summary: Mapping[str, int],
        details: Mapping[str, Any] | None = None,
        texts_cut: int | None = None,
        unreadable: Mapping[Path, str] | None = None,
    ) -> Result:
        """Return what is printed and written.

        Args:
            summary: Counts over all trials.
            details: More for JSON.
            texts_cut: How many texts were cut to the model's context.
            unreadable: Why files could not be read, by file.
        """
        standings = self.verdict.standings
        narrow = [self._row(standing) for standing in standings]
        ranking = Result([self._shown_row(standing) for standing in standings], title=self.title)
        pairs = Result([self._shown_pair(duel) for duel in self.verdict.duels], title="Each two of them")
        return Result(
            [
                row | self._against_others(standing.index)
                for row, standing in zip(narrow, standings, strict=True)
            ],
            title=self.title,
            signature=self.signature,
            summary=dict(summary),
            details={
                "confidence": self.confidence,
                "groups": self.verdict.clusters,
                "pairs": [self._pair(duel) for duel in self.verdict.duels],
                "verdict": self.sentences(),
                "remarks": self.remarks(),
                **(details or {}),
            },
            parts=[ranking, pairs],
            notes=[*self.sentences(), *self.remarks()],
            json_rows=[
                row | {"beats": self._against_others(standing.index)["beats"]}
                for row, standing in zip(narrow, standings, strict=True)
            ],
            texts_cut=texts_cut,
            unreadable=unreadable or {},
        )

    def _sentence(self, duel: Duel) -> str:
        first, second = self.names[duel.first], self.names[duel.second]
        figures = (
            f"{self.percent(duel.share)}, p = {shown_p(duel.corrected)}, on {self._counted(len(self.trials))}"
        )
        if duel.is_settled:
            return f"{first} beats {second}: {figures}."
        if duel.further is None:
            return f"{first} and {second} cannot be told apart: {figures}; there is no difference to be seen."
        return (
            f"{first} and {second} cannot be told apart: {figures}; some"
            f" {self._counted(_rounded_up(duel.further), 'further ')} would settle a difference of this size."
        )

    def _counted(self, count: int, which: str = "") -> str:
        return f"{count:,} {which}{self.unit.removesuffix('s') if count == 1 else self.unit}"

    def percent(self, share: Estimate) -> str:
        """Return a share with its interval in per cent, with a place more where there are trials enough for it."""
        places = 0 if len(self.trials) < _FINE else 1
        # 57.5, not 57.49999999999999: a share and the one that it leaves make 100.
        percents = (round(100 * figure, 9) for figure in (share.value, share.low, share.high))
        value, low, high = (f"{percent:.{places}f}" for percent in percents)
        return f"{value} % [{low}, {high}]"

    def _row(self, standing: Standing) -> dict[str, Any]:
        row = {
            self.kind: self.names[standing.index],
            **_with_ends("win_rate", standing.win_rate),
            "mean_rank": standing.mean_rank,
            "mean_score": standing.mean_score,
        }
        return row if standing.strength is None else row | _with_ends("strength", standing.strength)

    def _shown_row(self, standing: Standing) -> dict[str, Any]:
        row = {
            self.kind: self.names[standing.index],
            "win rate": self.percent(standing.win_rate),
            "mean rank": round(standing.mean_rank, 4),
            "mean score": standing.mean_score,
        }
        if standing.strength is not None:
            row["strength"] = signed(standing.strength, 2)
        return row

    def _pair(self, duel: Duel) -> dict[str, Any]:
        return {
            "first": self.names[duel.first],
            "second": self.names[duel.second],
            **_with_ends("wins", duel.share),
            "ties": duel.ties,
            "p": duel.p,
            "p_holm": duel.corrected,
            "settled": duel.is_settled,
            "further": duel.further,
            "detectable": duel.detectable,
            **_with_ends("difference", duel.difference),
            "difference_p": duel.difference_p,
            "difference_p_holm": duel.difference_corrected,
        }

    def _shown_pair(self, duel: Duel) -> dict[str, Any]:
        return {
            "first": self.names[duel.first],
            "second": self.names[duel.second],
            "wins of the first": self.percent(duel.share),
            "p": shown_p(duel.corrected),
            "further": duel.further,
            "mean difference": signed(duel.difference, 4),
            "its p": shown_p(duel.difference_corrected),
        }

    def _against_others(self, index: int) -> dict[str, dict[str, Any]]:
        """Return columns with one figure for each other competitor, of a competitor's own view."""
        columns: dict[str, dict[str, Any]] = {"beats": {name: math.nan for name in self.names}}
        for duel in self.verdict.duels:
            if index not in (duel.first, duel.second):
                continue
            own = duel.first == index
            name = self.names[duel.second if own else duel.first]
            share, difference = duel.share, duel.difference
            figures = {
                "beats": share.value if own else 1 - share.value,
                "beats_low": share.low if own else 1 - share.high,
                "beats_high": share.high if own else 1 - share.low,
                "p": duel.p,
                "p_holm": duel.corrected,
                "further": duel.further,
                "difference": difference.value if own else -difference.value,
                "difference_low": difference.low if own else -difference.high,
                "difference_high": difference.high if own else -difference.low,
                "difference_p_holm": duel.difference_corrected,
            }
            for column, value in figures.items():
                columns.setdefault(column, {other: None for other in self.names})[name] = value
        return columns


def check_confidence(confidence: float) -> None:
    """Raise a `ValueError` unless the confidence lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"Option --confidence must lie between 0 and 1, but got {confidence:g}.")


def _with_ends(name: str, figure: Estimate) -> dict[str, float]:
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _rounded_up(count: int) -> int:
    """Return a count with two digits that say something."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / step) * step
