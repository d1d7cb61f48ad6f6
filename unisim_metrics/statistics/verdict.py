"""Which of several is better, judged on the same trials: shares of wins, paired tests, strengths, what is open."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters
from .confidence import estimate
from .differences import estimate_mean_difference
from .intervals import Estimate, check_confidence, estimate_mean_share
from .significance import holm
from .strengths import estimate_clustered_strengths
from .wins import compare_clustered_wins, detectable_share, further_trials

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """How one of the competitors does.

    Attributes:
        index: Which.
        win_rate: The share of trials that it wins against all others; a tie for the first place is shared.
        mean_rank: Its mean rank, 1 is best; ties share their mean rank.
        mean_score: The mean of its scores.
        strength: Its Bradley-Terry strength, a natural logarithm, all of mean 0; None with fewer than three.
    """

    index: int
    win_rate: Estimate
    mean_rank: float
    mean_score: float
    strength: Estimate | None


@dataclass(frozen=True)
class Duel:
    """One competitor beside another on the same trials.

    Attributes:
        first: The one that won more often; of equals the one that comes first.
        second: The other.
        share: The share of wins of the first, a tie counting a half.
        p: The two-sided p-value of the exact sign test over clusters.
        corrected: The same after Holm's correction over all duels.
        ties: How many of the trials were ties.
        further: How many more trials would show the difference, over all that are open, with a power of 80 % if it is
            as large as it seems; 0 where it is shown already, None where there is none to be seen.
        detectable: The smallest share of wins that these trials would show with a power of 80 %, were this the only
            duel; None if none.
        difference: By how much the mean score of the first is higher.
        difference_p: The two-sided p-value of the paired t-test.
        difference_corrected: The same after Holm's correction over all duels.
    """

    first: int
    second: int
    share: Estimate
    p: float
    corrected: float
    ties: int
    further: int | None
    detectable: float | None
    difference: Estimate
    difference_p: float
    difference_corrected: float

    @property
    def is_settled(self) -> bool:
        """Whether the trials tell the two apart, all duels considered."""
        return self.further == 0


@dataclass(frozen=True)
class Verdict:
    """What scores of several competitors on the same trials say.

    Attributes:
        standings: The competitors: by strength with three or more, else by win rate, best first.
        duels: Each two of them, in the order of the standings.
        trials: How many trials there are.
        clusters: How many of them do not hang together with others, or groups that do.
        confidence: Of the intervals; a duel is settled where its corrected p-value is at most one less this.
        regularised: Whether the wins had to be helped to finite strengths.
    """

    standings: tuple[Standing, ...]
    duels: tuple[Duel, ...]
    trials: int
    clusters: int
    confidence: float
    regularised: bool


def judge(scores: Array, labels: Sequence[Hashable] | None = None, confidence: float = 0.95) -> Verdict:
    """Judge which of several competitors is better.

    Args:
        scores: The score of each competitor in each trial, higher is better, `[trials, N]` with N ≥ 2.
        labels: What each trial is of, such as its prompt: trials of equal labels hang together. None if none do.
        confidence: How often the intervals hold the true figure, in (0, 1).

    Raises:
        ValueError: If there is no trial, fewer than two competitors, a score that is not finite, another number of
            labels, or the confidence is out of its range.
    """
    check_confidence(confidence)
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or len(scores) < 1 or scores.shape[1] < 2 or not np.isfinite(scores).all():
        raise ValueError(
            "Argument `scores` must hold finite numbers in shape [trials, N] with N >= 2, but got"
            f" {np.count_nonzero(~np.isfinite(scores))} that are not, in shape {list(scores.shape)}."
        )
    if labels is not None and len(labels) != len(scores):
        raise ValueError(f"Argument `labels` must hold {len(scores)} labels, but got {len(labels)}.")
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels or ()))}
    clusters = (
        Clusters.independent(len(scores))
        if labels is None
        else Clusters(np.array([numbers[label] for label in labels]))
    )
    beaten = (np.sign(scores[:, :, None] - scores[:, None]) + 1) / 2
    standings, regularised = _standings(scores, beaten, clusters, confidence)
    order = [standing.index for standing in standings]
    return Verdict(
        standings,
        _duels(scores, beaten, clusters, confidence, order),
        len(scores),
        clusters.count,
        confidence,
        regularised,
    )


def _standings(
    scores: Array, beaten: Array, clusters: Clusters, confidence: float
) -> tuple[tuple[Standing, ...], bool]:
    n, count = scores.shape
    best = scores == scores.max(axis=1, keepdims=True)
    firsts = best / best.sum(axis=1, keepdims=True)
    # Each beats itself by a half, which the place of the first makes up for.
    ranks = count - beaten.sum(axis=2) + 0.5
    strengths = None
    if count > 2:
        wins = np.zeros((clusters.count, count, count))
        np.add.at(wins, clusters.labels[:, 0], beaten)
        strengths = estimate_clustered_strengths(wins, clusters.sizes, confidence)
    standings = []
    for index in range(count):
        column = firsts[:, index]
        if clusters.is_independent:
            total, squares = float(column.sum()), float((column**2).sum())
            win_rate = estimate_mean_share(total, min(squares, total), n, confidence)
        else:
            win_rate = estimate(column, clusters, confidence)
        strength = (
            None
            if strengths is None
            else Estimate(*(float(end[index]) for end in (strengths.values, strengths.low, strengths.high)))
        )
        standings.append(
            Standing(index, win_rate, float(ranks[:, index].mean()), float(scores[:, index].mean()), strength)
        )
    standings.sort(key=lambda found: -(found.win_rate if found.strength is None else found.strength).value)
    return tuple(standings), strengths is not None and strengths.regularised


def _duels(
    scores: Array, beaten: Array, clusters: Clusters, confidence: float, order: Sequence[int]
) -> tuple[Duel, ...]:
    pairs = []
    for i, j in combinations(order, 2):
        share = beaten[:, i, j].mean()
        pairs.append((i, j) if share > 0.5 or (share == 0.5 and i < j) else (j, i))
    wins = [compare_clustered_wins(beaten[:, i, j], clusters, confidence) for i, j in pairs]
    means = [estimate_mean_difference(scores[:, i] - scores[:, j], clusters, confidence) for i, j in pairs]
    corrected = holm([found.p for found in wins])
    corrected_means = holm([found.p for found in means])
    # Holm's method holds the smallest of the p-values that are open against this level.
    is_open = [p > 1 - confidence for p in corrected]
    level = (1 - confidence) / max(1, sum(is_open))
    return tuple(
        Duel(
            i,
            j,
            found.share,
            found.p,
            p,
            found.ties,
            further_trials(found.share.value, found.trials, found.ties, 1 - level, found.design_effect)
            if open_
            else 0,
            detectable_share(
                round(found.trials / found.design_effect), found.ties / found.trials, confidence
            ),
            mean.mean,
            mean.p,
            corrected_mean,
        )
        for (i, j), found, p, open_, mean, corrected_mean in zip(
            pairs, wins, corrected, is_open, means, corrected_means, strict=True
        )
    )
