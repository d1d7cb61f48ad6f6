"""Which samples hang together, and how far the mean of such samples may be off.

Samples that show one photo are not independent: a model that errs on the photo errs on all of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """How far a mean may be off.

    Attributes:
        variance: Its variance.
        degrees: As many degrees of freedom has the estimate of the variance.
    """

    variance: float
    degrees: float


class Clusters:
    """Which samples share what.

    With one label a sample, samples of equal label form a group. With several, a label names an item, such as one of
    the photos that a sample shows, and samples hang together that have an item in common: groups then overlap, and one
    chain of neighbours may run through the whole set.

    Args:
        labels: The labels of each sample, `[n]` or `[n, ways]`, whole numbers, all from one list of names. No sample
            has one of them twice.

    Raises:
        ValueError: If there is no sample or no label, or a sample has a label twice.
    """

    def __init__(self, labels: NDArray[np.integer]) -> None:
        columns = np.asarray(labels)
        columns = columns[:, None] if columns.ndim == 1 else columns
        if columns.ndim != 2 or not columns.size:
            raise ValueError(
                f"Argument `labels` must be of shape [n] or [n, ways], but got {list(np.shape(labels))}."
            )
        twice = repeats_label(columns)
        if twice.any():
            raise ValueError(
                f"Argument `labels` must give no sample a label twice, but sample {int(twice.argmax())} has"
                f" {columns[twice.argmax()].tolist()}."
            )
        _, numbers = np.unique(columns, return_inverse=True)
        self.labels: NDArray[np.int64] = numbers.reshape(columns.shape).astype(np.int64)

    @classmethod
    def independent(cls, n: int) -> Clusters:
        """Return those of `n` samples that share nothing."""
        return cls(np.arange(n))

    @classmethod
    def of_columns(cls, columns: Sequence[NDArray[np.integer]], n: int) -> Clusters:
        """Return those of `n` samples with one list of labels a way; without any, the samples share nothing."""
        return cls(np.stack(columns, axis=1)) if columns else cls.independent(n)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ways(self) -> int:
        """How many labels each sample has."""
        return int(self.labels.shape[1])

    @property
    def sizes(self) -> NDArray[np.float64]:
        """How many samples have each label, `[count]`."""
        return np.bincount(self.labels.ravel()).astype(np.float64)

    @property
    def count(self) -> int:
        """How many labels occur: the number of groups."""
        return int(self.labels.max()) + 1

    @property
    def effective(self) -> float:
        """How many groups of equal size would tell as much (Carter, Schnepel and Steigerwald, 2017, if all is shared).

        It is their number where they are equal, and less where one holds most samples. Where samples have several
        labels each, it is the number of labels, or what tells as much, over those of one sample: samples that share
        nothing count one each. So few independent samples tell as much if all that samples differ by is their labels;
        they never tell less, since of a sample's variance each of its labels has its share at most (Hoeffding, 1948).
        """
        sizes = self.sizes
        return float(sizes.sum() ** 2 / (sizes**2).sum()) / self.ways

    @property
    def is_independent(self) -> bool:
        """Whether no two samples share anything."""
        return self.count == self.labels.size

    def take(self, chosen: NDArray[np.bool_]) -> Clusters:
        """Return those of a part of the samples."""
        return Clusters(self.labels[chosen])

    def totals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the values of the samples with each label, `[count]`."""
        summed = np.bincount(self.labels.ravel(), np.repeat(values, self.ways), minlength=self.count)
        return summed.astype(np.float64)

    def spread(self, values: NDArray[np.float64]) -> Spread:
        """Return how far the mean may be off, whatever samples do to each other that hang together.

        All products of deviations of two samples that share a label, each pair once. With one way this is the
        cluster-robust variance (Liang and Zeger, 1986) with its correction for few groups, `G / (G - 1)`; with several
        it is the multiway one (Cameron, Gelbach and Miller, 2011), which for pairs of photos is the dyadic one
        (Fafchamps and Gubert, 2007; Aronow, Samii and Assenova, 2015).

        With several ways the sum is divided not by n² but by the number of ordered pairs of samples that share nothing.
        Deviations add up to zero, so that their products over those pairs are the same sum with its sign turned; where
        each sample shares with as many others, their mean has the variance for its expectation, up to that sign,
        whatever samples do that hang together, and of independent samples always. With groups of one size it is the
        same factor.

        With several ways the sum may still fall short by chance, below zero even. Then the variance is that of samples
        that share nothing, with as many degrees of freedom as those have. What is above it has the degrees of the
        effective number of groups, as has its product with the rest, and all together what is between (after
        Satterthwaite, 1946).

        Args:
            values: What each sample contributes, `[n]`.

        Returns:
            The variance and its degrees of freedom; NaN and 0 where no two samples share nothing: these tell nothing of
            others.
        """
        n = len(self.labels)
        apart = n**2 - self._shared_products(np.ones(n))
        if not apart > 0:
            return Spread(math.nan, 0.0)
        deviations = values - values.mean()
        products = self._shared_products(deviations)
        if self.ways == 1:
            return Spread(products / n**2 * self.count / (self.count - 1), self.effective - 1)
        independent = float((deviations**2).sum()) / n / (n - 1)
        variance = max(products / apart, independent)
        alone = (independent / variance) ** 2 if variance > 0 else 1.0
        return Spread(variance, 1 / (alone / (n - 1) + (1 - alone) / (self.effective - 1)))

    def _shared_products(self, values: NDArray[np.float64]) -> float:
        """Return the sum of the products of the values of all ordered pairs of samples that share a label."""
        products = float((self.totals(values) ** 2).sum())
        # A pair of samples that shares two labels was counted twice: inclusion and exclusion.
        ordered = np.sort(self.labels, axis=1)
        for size in range(2, self.ways + 1):
            choices = list(itertools.combinations(range(self.ways), size))
            both = np.concatenate([ordered[:, choice] for choice in choices])
            _, numbers = np.unique(both, axis=0, return_inverse=True)
            shared = np.bincount(numbers.ravel(), np.tile(values, len(choices)))
            products += (-1) ** (size + 1) * float((shared**2).sum())
        return products


def repeats_label(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which samples have a label twice, `[n]`.

    Args:
        labels: The labels of each sample, `[n, ways]`.
    """
    ordered = np.sort(labels, axis=1)
    return np.asarray((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
