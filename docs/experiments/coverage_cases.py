"""What the tables of coverage simulate: the intervals and tests of each command, on samples of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.benchmark.results.summary import Figure
from unisim_metrics.metrics.clusters import cluster_slots
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import Drawn, draw, draw_difference, estimate
from unisim_metrics.statistics.differences import estimate_mean_difference
from unisim_metrics.statistics.intervals import Estimate
from unisim_metrics.statistics.logistic import fit_slope
from unisim_metrics.statistics.significance import draws_p, mcnemar_p
from unisim_metrics.statistics.tallies import spread_of_clusters, spread_of_groups
from unisim_metrics.statistics.verdict import judge
from unisim_metrics.statistics.wins import cluster_sign_test_p

from .coverage_draws import (
    TRUE_PRECISION,
    Draw,
    Label,
    Rng,
    Values,
    draw_alone,
    draw_groups,
    draw_pairs,
    draw_precisions,
    draw_scores,
    draw_ten_groups,
    draw_two_models,
    group_labels,
)

SIZES = (50, 400, 5000)
_DRAWS = 399
_LEVEL = 0.05
# Tests are quicker than intervals, and their figures smaller: more of them.
_TESTS = 10
_FEWER_TESTS = 4
_MORE_TESTS = 20
_COMPETITORS = (0.5, 0.1, -0.6)
_POSITIONS = (0.8, 0.3, 0.0, -0.5)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        of: Which interval or test.
        samples: What the samples are like.
        is_test: Whether it is a test.
    """

    of: str
    samples: str
    is_test: bool = False


@dataclass(frozen=True)
class Case:
    """What is simulated together.

    Attributes:
        rows: What each figure of a trial is of.
        trial: Judges one draw of `n` samples, or several: for each row which share of its intervals held the truth, or
            of its tests saw a difference that there is not.
        sizes: The numbers of samples.
    """

    rows: tuple[Row, ...]
    trial: Callable[[Rng, int], Sequence[float]]
    sizes: tuple[int, ...] = SIZES


def _holds(found: Estimate, truth: float) -> bool:
    return found.low <= truth <= found.high


def _held(ends: Values, truth: Values) -> float:
    """Return the share of intervals `[..., 2]` that hold the truth `[...]`, NaN ends left out."""
    low, high = np.moveaxis(ends, -1, 0)
    known = ~np.isnan(low)
    return float(np.mean((low[known] <= truth[known]) & (truth[known] <= high[known])))


def _seed(rng: Rng) -> int:
    return int(rng.integers(1 << 30))


def _figure(found: Drawn, n: int, lowest: float = 0.0) -> Figure:
    return Figure(found.value, found.figures, n, lowest=lowest)


def _accuracy(draw_answers: Draw, lowest: float, highest: float) -> Callable[[Rng, int], list[float]]:
    def trial(rng: Rng, n: int) -> list[float]:
        chance = rng.uniform(lowest, highest)
        return [_holds(estimate(*draw_answers(rng, n, chance)), chance)]

    return trial


def _mean(draw_answers: Draw) -> Callable[[Rng, int], list[float]]:
    """A task of three sets of different sizes and figures."""
    chances = (0.9, 0.6, 0.75)

    def trial(rng: Rng, n: int) -> list[float]:
        parts = []
        for number, (chance, size) in enumerate(zip(chances, (n, 2 * n // 5, n // 5), strict=True)):
            values, clusters = draw_answers(rng, size, chance)
            parts.append(_figure(draw(values, number, _seed(rng), clusters=clusters, draws=_DRAWS), size))
        return [_holds(Figure.mean(parts).estimate(), float(np.mean(chances)))]

    return trial


def _precision(label: Label) -> Callable[[Rng, int], list[float]]:
    def trial(rng: Rng, n: int) -> list[float]:
        labels = label(n)
        return [_holds(estimate(draw_precisions(rng, n, labels), Clusters(labels)), TRUE_PRECISION)]

    return trial


def _difference(draw_answers: Draw, gain: float = 0.04) -> Callable[[Rng, int], list[float]]:
    def trial(rng: Rng, n: int) -> list[float]:
        first, second, clusters = draw_two_models(rng, n, draw_answers, gain)
        found = draw_difference(first, second, _seed(rng), clusters=clusters, draws=_DRAWS)
        return [_holds(_figure(found, n, -1.0).estimate(), gain)]

    return trial


def _alike(draw_answers: Draw, sets: int) -> Callable[[Rng, int], list[float]]:
    """The test that `bench compare` makes of two models that do not differ, on a set or on the mean of several."""

    def alarm(rng: Rng, n: int) -> bool:
        parts = []
        for _ in range(sets):
            first, second, clusters = draw_two_models(rng, n // sets, draw_answers, 0.0)
            if sets == 1 and clusters.is_independent:
                return mcnemar_p(first, second) <= _LEVEL
            found = draw_difference(first, second, _seed(rng), clusters=clusters, draws=_DRAWS)
            parts.append(_figure(found, n // sets, -1.0))
        return draws_p(Figure.mean(parts).drawn) <= _LEVEL

    tests = _MORE_TESTS if draw_answers is draw_alone else _FEWER_TESTS
    return lambda rng, n: [float(np.mean([alarm(rng, n) for _ in range(tests)]))]


def _verdict(copies: int) -> Callable[[Rng, int], list[float]]:
    """The figures of `rank` and `compare`: three competitors over prompts, of which so many share a text each."""
    strengths = np.array(_COMPETITORS)
    chances = np.exp(strengths)

    def trial(rng: Rng, n: int) -> list[float]:
        labels = np.arange(n) // copies
        verdict = judge(draw_scores(rng, labels, _COMPETITORS), labels.tolist() if copies > 1 else None)
        rates, levels, shares, gaps = [], [], [], []
        for standing in verdict.standings:
            rates.append(_holds(standing.win_rate, chances[standing.index] / chances.sum()))
            assert standing.strength is not None
            levels.append(_holds(standing.strength, strengths[standing.index] - strengths.mean()))
        for duel in verdict.duels:
            pair = [duel.first, duel.second]
            shares.append(_holds(duel.share, chances[duel.first] / chances[pair].sum()))
            gaps.append(_holds(duel.difference, strengths[duel.first] - strengths[duel.second]))
        return [float(np.mean(held)) for held in (rates, shares, gaps, levels)]

    return trial


def _equals(copies: int) -> Callable[[Rng, int], list[float]]:
    """The tests of `rank` and `compare` on two equals."""

    def trial(rng: Rng, n: int) -> list[float]:
        labels = np.arange(n) // copies
        clusters, alarms = Clusters(labels), []
        for _ in range(_TESTS):
            scores = draw_scores(rng, labels, (0.0, 0.0))
            gaps = scores[:, 0] - scores[:, 1]
            margins = clusters.totals(np.sign(gaps)).astype(np.int64)
            alarms.append(
                [cluster_sign_test_p(margins) <= _LEVEL, estimate_mean_difference(gaps, clusters).p <= _LEVEL]
            )
        return list(np.mean(alarms, axis=0).tolist())

    return trial


def tally(scores: Values, slots: NDArray[np.int64] | None = None) -> dict[str, Values]:
    """Return what `UniSimRanking` computes with `confidence` from scores `[n, N]`, by clusters if slots are given."""
    n, count = scores.shape
    half_wins = ((np.sign(scores[:, :, None] - scores[:, None]) + 1) * ~np.eye(count, dtype=bool)).astype(
        np.int64
    )
    best = scores == scores.max(axis=1, keepdims=True)
    firsts = best / best.sum(axis=1, keepdims=True)
    if slots is None:
        totals = half_wins.sum(axis=2)
        by_size = np.zeros((count, count), dtype=np.int64)
        by_size[-1] = totals.sum(axis=0)
        return spread_of_groups(
            np.full(count, n),
            np.minimum(firsts.sum(axis=0), n),
            np.minimum((firsts**2).sum(axis=0), firsts.sum(axis=0)),
            half_wins.sum(axis=0),
            (half_wins == 1).sum(axis=0),
            by_size,
            totals.T @ totals,
        )
    used, numbers = np.unique(slots, return_inverse=True)
    groups = np.bincount(numbers)[:, None].repeat(count, axis=1)
    places, wins = np.zeros((len(used), count)), np.zeros((len(used), count, count), dtype=np.int64)
    np.add.at(places, numbers, firsts)
    np.add.at(wins, numbers, half_wins)
    return spread_of_clusters(groups, np.minimum(places, groups), wins)


def _ranking(label: Label, is_told: bool = True, ties: bool = False) -> Case:
    """The figures of `UniSimRanking` with `confidence`, of four positions."""
    strengths = np.array(_POSITIONS)

    @cache
    def truth() -> tuple[Values, Values]:
        if not ties:
            chances = np.exp(strengths)
            return chances / chances.sum(), chances[:, None] / (chances[:, None] + chances)
        scores = draw_scores(np.random.default_rng(1), np.arange(400_000), _POSITIONS).round()
        best = scores == scores.max(axis=1, keepdims=True)
        wins = [[(np.sign(first - second) / 2 + 0.5).mean() for second in scores.T] for first in scores.T]
        return (best / best.sum(axis=1, keepdims=True)).mean(axis=0), np.array(wins)

    @cache
    def slots(n: int) -> NDArray[np.int64] | None:
        labels = label(n)
        clustered = is_told and labels[-1] + 1 < n
        return np.asarray(cluster_slots(labels.tolist(), n).numpy()) if clustered else None

    def trial(rng: Rng, n: int) -> list[float]:
        scores = draw_scores(rng, label(n), _POSITIONS)
        found = tally(scores.round() if ties else scores, slots(n))
        rates, pairs = truth()
        held = [
            _held(found["win_rate_interval"], rates),
            _held(found["win_matrix_interval"], pairs),
        ]
        # Ties are not Bradley and Terry's.
        return held if ties else [*held, _held(found["strengths_interval"], strengths - strengths.mean())]

    if ties:
        samples = "with ties"
    elif label is np.arange:
        samples = "independent"
    else:
        samples = "in groups" if is_told else "in groups that it is not told of"
    names = ("win rate among four", "wins of pairs", "Bradley-Terry strengths")[: 2 if ties else 3]
    return Case(tuple(Row(f"`UniSimRanking`: {name}", samples) for name in names), trial)


def _slope(label: Label) -> Callable[[Rng, int], list[float]]:
    """The slope from differences of scores to people's choices; in groups both are alike, each half of its spread."""
    truth = 15.0

    def trial(rng: Rng, n: int) -> list[float]:
        from scipy.special import ndtr

        labels = label(n)
        shared, own = rng.normal(size=(2, labels[-1] + 1))[:, labels], rng.normal(size=(2, n))
        differences, noise = own if labels[-1] + 1 == n else np.sqrt(0.5) * (shared + own)
        # By its rank normal noise becomes logistic noise, whatever it hangs together with.
        chances = ndtr(noise)
        chosen = truth * 0.1 * differences > np.log(chances / (1 - chances))
        found = fit_slope(0.1 * differences, chosen, Clusters(labels))
        return [found.low <= truth <= found.high]

    return trial


def _cases() -> Iterator[Case]:
    draws: dict[str, Draw] = {
        "independent": draw_alone,
        "in groups": draw_groups,
        "pairs of photos": draw_pairs,
    }
    labels: dict[str, Label] = {"independent": np.arange, "in groups": group_labels}
    texts = {1: "independent", 2: "two share a text", 5: "five share a text"}
    for copies, samples in texts.items():
        names = ("win rate", "share of wins", "mean difference", "Bradley-Terry strength")
        yield Case(tuple(Row(f"`rank`, `compare`: {name}", samples) for name in names), _verdict(copies))
    for samples, draw_answers in draws.items():
        for name, ends in {"70 %": (0.7, 0.7), "90 %": (0.9, 0.9), "85 to 95 %": (0.85, 0.95)}.items():
            yield Case((Row(f"`bench`: accuracy of {name}", samples),), _accuracy(draw_answers, *ends))
    yield Case((Row("`bench`: accuracy of 95 %", "in ten groups"),), _accuracy(draw_ten_groups, 0.95, 0.95))
    for samples, draw_answers in draws.items():
        yield Case((Row("`bench`: mean of three sets", samples),), _mean(draw_answers))
    # The retrieval sets have 70 queries each.
    for samples, label in labels.items():
        yield Case((Row("`bench`: mAP of retrieval", samples),), _precision(label), (50, 400))
    for samples, draw_answers in draws.items():
        yield Case((Row("`bench compare`: difference of 4 points", samples),), _difference(draw_answers))
    yield _ranking(np.arange)
    yield _ranking(np.arange, ties=True)
    yield _ranking(group_labels)
    yield _ranking(group_labels, is_told=False)
    for samples, label in labels.items():
        yield Case((Row("`calibrate`: slope from scores to choices", samples),), _slope(label))
    for copies, samples in texts.items():
        tests = ("`rank`, `compare`: sign test", "`rank`, `compare`: t-test")
        yield Case(tuple(Row(name, samples, True) for name in tests), _equals(copies))
    for sets, name in {1: "a set", 3: "the mean of three sets"}.items():
        for samples, draw_answers in draws.items():
            test = "McNemar" if sets == 1 and draw_answers is draw_alone else "score test"
            row = Row(f"`bench compare`: {name} ({test})", samples, True)
            yield Case((row,), _alike(draw_answers, sets))


CASES = tuple(_cases())
"""All that is simulated: intervals, then tests."""
