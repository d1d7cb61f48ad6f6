"""Samples whose true figure is known, alone, in groups and as pairs of photos: what `coverage_cases` judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.statistics.clusters import Clusters

Rng: TypeAlias = np.random.Generator
Values: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = Callable[[Rng, int, float], tuple[Values, Clusters]]
"""Answers of `n` samples that are right with a chance, 0 or 1, and which samples hang together."""
Label: TypeAlias = Callable[[int], NDArray[np.int64]]
"""The groups of `n` samples, by number."""

# How much of the spread of answers is of their group, and of a photo.
_ALIKE = 0.2
_PHOTO = 0.4
# Photos a pair: KonIQ-10k has 2,015 of its test split in 5,000 pairs.
_PHOTOS = 0.4


def draw_alone(rng: Rng, n: int, chance: float) -> tuple[Values, Clusters]:
    """Draw answers that share nothing."""
    return (rng.random(n) < chance).astype(np.float64), Clusters.independent(n)


def group_labels(n: int) -> NDArray[np.int64]:
    """Return the groups of samples: of five where there are few, and of ten."""
    return np.arange(n) // (5 if n < 100 else 10)


def draw_groups(rng: Rng, n: int, chance: float) -> tuple[Values, Clusters]:
    """Draw answers in groups, with a chance of its own in each."""
    return _draw_within_labels(rng, group_labels(n), chance)


def draw_ten_groups(rng: Rng, n: int, chance: float) -> tuple[Values, Clusters]:
    """Draw answers in ten groups, however many they are: the more, the larger the groups."""
    return _draw_within_labels(rng, np.arange(n) * 10 // n, chance)


def _draw_within_labels(rng: Rng, labels: NDArray[np.int64], chance: float) -> tuple[Values, Clusters]:
    scale = 1 / _ALIKE - 1
    chances = rng.beta(chance * scale, (1 - chance) * scale, labels[-1] + 1)
    return (rng.random(len(labels)) < chances[labels]).astype(np.float64), Clusters(labels)


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


def draw_within(rng: Rng, clusters: Clusters, chance: float) -> Values:
    """Draw answers of samples of which it is known how they hang together: what they share makes them alike."""
    from scipy.special import ndtri

    ease = rng.normal(0, _PHOTO, clusters.count) if not clusters.is_independent else np.zeros(clusters.count)
    spread = _PHOTO * np.sqrt(clusters.ways) if not clusters.is_independent else 0.0
    middle = ndtri(chance) * np.sqrt(1 + spread**2)
    answers = rng.normal(middle + ease[clusters.labels].sum(axis=1)) > 0
    return np.asarray(answers, dtype=np.float64)


def draw_two_models(rng: Rng, n: int, draw: Draw, gain: float) -> tuple[Values, Values, Clusters]:
    """Draw answers of two models: both answer a common part alike, the second is better by `gain` on the rest."""
    common, clusters = draw(rng, n, 0.7)
    apart = rng.random(n) < 0.4
    own = [draw_within(rng, clusters, chance) for chance in (0.7, 0.7 + gain / 0.4)]
    first, second = (np.where(apart, values, common) for values in own)
    return first, second, clusters


def draw_precisions(rng: Rng, n: int, labels: NDArray[np.int64]) -> Values:
    """Draw average precisions of queries, Medium and Hard, many near 1 or near 0; a tenth has no Hard one."""
    middles = rng.beta(1.6, 1.0, labels[-1] + 1)[labels]
    medium = rng.beta(8 * middles + 0.2, 8 * (1 - middles) + 0.2)
    values = np.stack([medium, medium**2], axis=1)
    values[rng.random(n) < 0.1, 1] = np.nan
    return values


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


def draw_scores(rng: Rng, labels: NDArray[np.int64], strengths: Sequence[float]) -> Values:
    """Draw scores of competitors `[n, N]` that win against each other as Bradley and Terry have it.

    Of the trials of one label half have the same luck.
    """
    count = labels[-1] + 1
    own, shared = rng.gumbel(size=(len(labels), len(strengths))), rng.gumbel(size=(count, len(strengths)))
    if count < len(labels):
        own = np.where(rng.random((len(labels), 1)) < 0.5, shared[labels], own)
    return np.asarray(np.asarray(strengths) + own)
