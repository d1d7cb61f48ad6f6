"""How often intervals hold the true figure, and how often tests see a difference where there is none, by simulation.

python -m docs.experiments.benchmark_coverage

Samples are drawn again and again from models of which the true figure is known. In groups (of five or ten samples), or
where pairs of photos share either, right answers depend on each other; in all others they do not. Intervals and tests
are those that the commands print, but with fewer resamples (`RESAMPLES`), which fall on the level all the same. What
`unisim rank` and `unisim compare` print of prompts is simulated by `docs.experiments.coverage`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.benchmark.results.summary import Figure
from unisim_metrics.statistics.bootstrap import Resampled, resample, resample_difference
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.intervals import Estimate, estimate_mean_share
from unisim_metrics.statistics.logistic import fit_slope
from unisim_metrics.statistics.significance import bootstrap_p, mcnemar_p
from unisim_metrics.statistics.strengths import estimate_strengths
from unisim_metrics.statistics.wins import compare_wins, sign_test_p

__all__ = [
    "CASES",
    "RESAMPLES",
    "SIZES",
    "TRUE_PRECISION",
    "Case",
    "draw_alone",
    "draw_groups",
    "draw_pairs",
    "draw_within",
    "main",
    "measure",
    "tabulate",
]

SIZES = (50, 400, 5000)
RESAMPLES = 399
TARGET = (0.93, 0.97)
FALSE_ALARMS = 0.055

# How much of the spread of answers is of their group, and of a photo.
_ALIKE = 0.2
_PHOTO = 0.4
# Photos a pair: KonIQ-10k has 2,015 of its test split in 5,000 pairs.
_PHOTOS = 0.4

Rng: TypeAlias = np.random.Generator
Values: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = Callable[[Rng, int, float], tuple[Values, Clusters]]
"""Answers of `n` samples that are right with a chance, 0 or 1, and which samples hang together."""


@dataclass(frozen=True)
class Case:
    """What is simulated.

    Attributes:
        name: Which interval or test.
        samples: What the samples are like.
        trial: Whether one draw of `n` samples was well judged: an interval held the truth, or a test saw a
            difference that there is not. Of several figures the share of them.
        is_test: Whether it is a test.
        sizes: The numbers of samples.
    """

    name: str
    samples: str
    trial: Callable[[Rng, int], float]
    is_test: bool = False
    sizes: tuple[int, ...] = SIZES


def draw_alone(rng: Rng, n: int, chance: float) -> tuple[Values, Clusters]:
    """Draw answers that share nothing."""
    return (rng.random(n) < chance).astype(np.float64), Clusters.independent(n)


def draw_groups(rng: Rng, n: int, chance: float) -> tuple[Values, Clusters]:
    """Draw answers in groups, of five where there are few and of ten, with a chance of its own in each."""
    labels = np.arange(n) // (5 if n < 100 else 10)
    scale = 1 / _ALIKE - 1
    chances = rng.beta(chance * scale, (1 - chance) * scale, labels[-1] + 1)
    return (rng.random(n) < chances[labels]).astype(np.float64), Clusters(labels)


def draw_pairs(rng: Rng, n: int, chance: float) -> tuple[Values, Clusters]:
    """Draw answers about pairs of any two photos, each of which makes its pairs easier or harder."""
    from scipy.special import ndtri

    count = round(n * _PHOTOS)
    first = rng.integers(count, size=n)
    photos = np.stack([first, (first + rng.integers(1, count, n)) % count], axis=1)
    ease = rng.normal(0, _PHOTO, count)
    # A probit of the chance and the photos: over all photos it is right as often as the chance says.
    middle = ndtri(chance) * np.sqrt(1 + 2 * _PHOTO**2)
    answers = rng.normal(middle + ease[photos].sum(axis=1)) > 0
    return answers.astype(np.float64), Clusters(photos)


def measure(case: Case, n: int, repetitions: int, seed: int = 0) -> float:
    """Return the share of trials of a case that come out so, in [0, 1]."""
    rng = np.random.default_rng([seed, n])
    return float(np.mean([case.trial(rng, n) for _ in range(repetitions)]))


def tabulate(figures: Sequence[tuple[Case, Sequence[float | None]]], sizes: Sequence[int]) -> str:
    """Return figures of cases as a table of Markdown, in per cent, with a star where they miss the target."""
    lines = [
        f"| of | samples | {' | '.join(f'n = {n:,}' for n in sizes)} |",
        f"|---|---|{'--:|' * len(sizes)}",
    ]
    for case, row in figures:
        cells = ("–" if figure is None else f"{100 * figure:.1f}{_mark(case, figure)}" for figure in row)
        lines.append(f"| {case.name} | {case.samples} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=2000, help="draws of each case and size")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples")
    parser.add_argument("--only", default="", help="cases in whose name this stands")
    options = parser.parse_args(arguments)
    found: dict[bool, list[tuple[Case, list[float | None]]]] = {False: [], True: []}
    start = time.perf_counter()
    for case in CASES:
        if options.only in f"{case.name}, {case.samples}":
            row = [
                measure(case, n, options.repetitions) if n in case.sizes or n not in SIZES else None
                for n in options.sizes
            ]
            found[case.is_test].append((case, row))
            print(f"{time.perf_counter() - start:.0f} s: {case.name}, {case.samples}", file=sys.stderr)
    for figures in found.values():
        if figures:
            print(tabulate(figures, options.sizes), end="\n\n")
    return 0


def _mark(case: Case, figure: float) -> str:
    missed = figure > FALSE_ALARMS if case.is_test else not TARGET[0] <= figure <= TARGET[1]
    return "*" if missed else ""


def _name(rng: Rng) -> int:
    """Return a seed of the draws of an interval."""
    return int(rng.integers(1 << 30))


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def _figure(found: Resampled, n: int, lowest: float = 0.0) -> Figure:
    return Figure(found.value, found.figures, n, degrees=found.degrees, lowest=lowest)


def _accuracy(draw: Draw, chance: float) -> Callable[[Rng, int], float]:
    def trial(rng: Rng, n: int) -> float:
        values, clusters = draw(rng, n, chance)
        found = resample(values, "coverage", _name(rng), clusters=clusters, resamples=RESAMPLES)
        return _holds(_figure(found, n).estimate(), chance)

    return trial


def _mean(draw: Draw) -> Callable[[Rng, int], float]:
    """A task of three sets of different sizes and figures."""
    chances = (0.9, 0.6, 0.75)

    def trial(rng: Rng, n: int) -> float:
        parts = []
        for number, (chance, size) in enumerate(zip(chances, (n, 2 * n // 5, n // 5), strict=True)):
            values, clusters = draw(rng, size, chance)
            found = resample(values, number, _name(rng), clusters=clusters, resamples=RESAMPLES)
            parts.append(_figure(found, size))
        return _holds(Figure.mean(parts).estimate(), float(np.mean(chances)))

    return trial


def _precision(groups: bool) -> Callable[[Rng, int], float]:
    """Average precisions of queries, Medium and Hard, many of them near 1 or near 0; a tenth has no Hard one."""

    def trial(rng: Rng, n: int) -> float:
        labels = np.arange(n) // 5 if groups else np.arange(n)
        middles = rng.beta(1.6, 1.0, labels[-1] + 1)[labels]
        medium = rng.beta(8 * middles + 0.2, 8 * (1 - middles) + 0.2)
        values = np.stack([medium, medium**2], axis=1)
        values[rng.random(n) < 0.1, 1] = np.nan
        found = resample(values, "coverage", _name(rng), clusters=Clusters(labels), resamples=RESAMPLES)
        return _holds(_figure(found, n).estimate(), TRUE_PRECISION)

    return trial


def _true_precision() -> float:
    """Return the mean of both protocols over all queries, in closed form but for one integral."""
    points, weights = np.polynomial.legendre.leggauss(200)
    middles = (points + 1) / 2
    density = weights / 2 * 1.6 * middles**0.6
    a, b = 8 * middles + 0.2, 8 * (1 - middles) + 0.2
    medium = a / (a + b)
    return float((density * (medium + medium * (a + 1) / (a + b + 1)) / 2).sum())


TRUE_PRECISION = _true_precision()
"""The mean average precision of the queries that are drawn, Medium and Hard."""


def _two_models(draw: Draw, gain: float) -> Callable[[Rng, int], tuple[Values, Values, Clusters]]:
    """Two models on the same samples: both answer a common part alike, the second is better by `gain` on the rest."""

    def answers(rng: Rng, n: int) -> tuple[Values, Values, Clusters]:
        common, clusters = draw(rng, n, 0.7)
        apart = rng.random(n) < 0.4
        own = [draw_within(rng, clusters, chance) for chance in (0.7, 0.7 + gain / 0.4)]
        first, second = (np.where(apart, values, common) for values in own)
        return first, second, clusters

    return answers


def draw_within(rng: Rng, clusters: Clusters, chance: float) -> Values:
    """Draw answers of samples of which it is known how they hang together: what they share makes them alike."""
    from scipy.special import ndtri

    ease = rng.normal(0, _PHOTO, clusters.count) if not clusters.is_independent else np.zeros(clusters.count)
    spread = _PHOTO * np.sqrt(clusters.ways) if not clusters.is_independent else 0.0
    middle = ndtri(chance) * np.sqrt(1 + spread**2)
    answers = rng.normal(middle + ease[clusters.labels].sum(axis=1)) > 0
    return np.asarray(answers, dtype=np.float64)


def _difference(draw: Draw, gain: float = 0.04) -> Callable[[Rng, int], float]:
    answers = _two_models(draw, gain)

    def trial(rng: Rng, n: int) -> float:
        first, second, clusters = answers(rng, n)
        name = "coverage", _name(rng)
        found = resample_difference(first, second, *name, clusters=clusters, resamples=RESAMPLES)
        return _holds(_figure(found, n, -1.0).estimate(), gain)

    return trial


def _false_alarm(draw: Draw, sets: int = 1) -> Callable[[Rng, int], float]:
    """The test that `compare` makes of two models that do not differ, on a set or on the mean of several."""
    answers = _two_models(draw, 0.0)

    def trial(rng: Rng, n: int) -> float:
        parts = []
        for _ in range(sets):
            first, second, clusters = answers(rng, n // sets)
            if sets == 1 and clusters.is_independent:
                return mcnemar_p(first, second) <= 0.05
            name = "coverage", _name(rng)
            found = resample_difference(first, second, *name, clusters=clusters, resamples=RESAMPLES)
            parts.append(_figure(found, n // sets, -1.0))
        mean = Figure.mean(parts)
        return bootstrap_p(mean.resampled, mean.degrees) <= 0.05

    return trial


def _scores(rng: Rng, n: int, strengths: Sequence[float], ties: bool = False) -> Values:
    """Scores of candidates `[n, N]` that win against each other as Bradley and Terry have it."""
    scores = np.asarray(strengths) + rng.gumbel(size=(n, len(strengths)))
    return np.asarray(scores.round() if ties else scores)


def _win_rate(strengths: Sequence[float], ties: bool = False) -> Callable[[Rng, int], float]:
    truth = _first_places(_scores(np.random.default_rng(1), 1_000_000, strengths, ties)).mean(axis=0)

    def trial(rng: Rng, n: int) -> float:
        shares = _first_places(_scores(rng, n, strengths, ties))
        return float(
            np.mean(
                [
                    _holds(estimate_mean_share(min(own.sum(), n), min((own**2).sum(), own.sum()), n), each)
                    for own, each in zip(shares.T, truth, strict=True)
                ]
            )
        )

    return trial


def _first_places(scores: Values) -> Values:
    best = scores == scores.max(axis=1, keepdims=True)
    return np.asarray(best / best.sum(axis=1, keepdims=True))


def _win_share(gap: float, ties: bool = False, together: int = 1) -> Callable[[Rng, int], float]:
    """The share of wins of one of two; of each prompt `together` pairs that are alike, which nobody told."""
    if ties:
        known = _scores(np.random.default_rng(2), 1_000_000, (gap, 0.0), ties)
        truth = float((np.sign(known[:, 0] - known[:, 1]) / 2 + 0.5).mean())
    else:
        truth = float(1 / (1 + np.exp(-gap)))

    def trial(rng: Rng, n: int) -> float:
        if together > 1:
            won = int(draw_groups(rng, n, truth)[0].sum())
            return _holds(compare_wins(won, n - won).share, truth)
        gaps = np.subtract(*_scores(rng, n, (gap, 0.0), ties).T)
        counts = [int((np.sign(gaps) == sign).sum()) for sign in (1, -1, 0)]
        return _holds(compare_wins(*counts).share, truth)

    return trial


def _sign_test(rng: Rng, n: int) -> float:
    won = int(rng.binomial(n, 0.5))
    return sign_test_p(won, n - won) <= 0.05


def _strengths(strengths: Sequence[float]) -> Callable[[Rng, int], float]:
    truth = np.asarray(strengths) - np.mean(strengths)

    def trial(rng: Rng, n: int) -> float:
        scores, count = _scores(rng, n, strengths), len(strengths)
        beaten = (scores[:, :, None] > scores[:, None]).astype(np.float64)
        totals = beaten.sum(axis=2)
        sizes, by_size = np.zeros(count), np.zeros((count, count))
        sizes[-1], by_size[-1] = n, totals.sum(axis=0)
        found = estimate_strengths(beaten.sum(axis=0), sizes, by_size, totals.T @ totals)
        return float(np.mean((found.low <= truth) & (truth <= found.high)))

    return trial


def _slope(groups: bool) -> Callable[[Rng, int], float]:
    """The slope from differences of scores to people's choices; in groups both are alike, each half of its spread."""
    truth = 15.0

    def trial(rng: Rng, n: int) -> float:
        from scipy.special import ndtr

        labels = np.arange(n) // (5 if n < 100 else 10) if groups else np.arange(n)
        shared, own = rng.normal(size=(2, labels[-1] + 1))[:, labels], rng.normal(size=(2, n))
        differences, noise = np.sqrt(0.5) * (shared + own) if groups else own
        # By its rank normal noise becomes logistic noise, whatever it hangs together with.
        chances = ndtr(noise)
        chosen = truth * 0.1 * differences > np.log(chances / (1 - chances))
        found = fit_slope(0.1 * differences, chosen, Clusters(labels))
        return found.low <= truth <= found.high

    return trial


def _cases() -> Iterator[Case]:
    draws: dict[str, Draw] = {
        "independent": draw_alone,
        "in groups": draw_groups,
        "pairs of photos": draw_pairs,
    }
    for samples, draw in draws.items():
        for chance in (0.7, 0.9):
            yield Case(f"a set's accuracy, {100 * chance:.0f} %", samples, _accuracy(draw, chance))
    for samples, draw in draws.items():
        yield Case("the mean of three sets", samples, _mean(draw))
    # The retrieval sets have 70 queries each.
    yield Case("a retrieval set's mAP", "independent", _precision(False), sizes=(50, 400))
    yield Case("a retrieval set's mAP", "in groups", _precision(True), sizes=(50, 400))
    for samples, draw in draws.items():
        yield Case("the difference of two models, 4 points", samples, _difference(draw))
    yield Case("`UniSimRanking`: win rate among two", "independent", _win_rate((0.4, 0.0)))
    yield Case("`UniSimRanking`: win rate among four", "independent", _win_rate((0.8, 0.3, 0.0, -0.5)))
    yield Case(
        "`UniSimRanking`: win rate among four", "with ties", _win_rate((0.8, 0.3, 0.0, -0.5), ties=True)
    )
    yield Case("`UniSimRanking`: share of wins, 60 %", "independent", _win_share(0.4))
    yield Case("`UniSimRanking`: share of wins, 90 %", "independent", _win_share(2.2))
    yield Case("`UniSimRanking`: share of wins, 60 %", "with ties", _win_share(0.4, ties=True))
    yield Case(
        "`UniSimRanking`: share of wins, 60 %",
        "in groups that it is not told of",
        _win_share(0.4, together=10),
    )
    yield Case("`calibrate`: slope from scores to choices", "independent", _slope(False))
    yield Case("`calibrate`: slope from scores to choices", "in groups", _slope(True))
    yield Case("Bradley-Terry strengths of four", "independent", _strengths((0.4, 0.1, 0.0, -0.5)))
    for samples, draw in draws.items():
        test = "McNemar" if draw is draw_alone else "bootstrap"
        yield Case(f"two models alike on a set ({test})", samples, _false_alarm(draw), is_test=True)
    for samples, draw in draws.items():
        yield Case(
            "two models alike on the mean of three sets (bootstrap)",
            samples,
            _false_alarm(draw, 3),
            is_test=True,
        )
    yield Case("`UniSimRanking`: two alike (sign test)", "independent", _sign_test, is_test=True)


CASES = tuple(_cases())
"""All that is simulated: intervals, then tests."""


if __name__ == "__main__":
    raise SystemExit(main())
