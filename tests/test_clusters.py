"""Variances of means of samples that hang together, against statsmodels and all pairs one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from unisim_metrics.statistics.clusters import Clusters


@pytest.mark.parametrize(("n", "groups"), [(2, 2), (50, 9), (400, 40)])
def test_variance_is_the_cluster_robust_one(n: int, groups: int) -> None:
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(n)
    labels = np.arange(n) % groups
    values = rng.random(n)
    fitted = sm.OLS(values, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    found = Clusters(labels).spread(values)
    assert found.variance == pytest.approx(fitted.bse[0] ** 2, rel=1e-9)
    assert found.degrees == pytest.approx(n**2 / (np.bincount(labels) ** 2).sum() - 1)


@pytest.mark.parametrize("ways", [2, 3])
def test_variance_is_that_of_all_products_over_pairs_that_share_nothing(ways: int) -> None:
    rng = np.random.default_rng(ways)
    labels = np.array([rng.choice(9, ways, replace=False) for _ in range(60)])
    samples: list[NDArray[np.float64]] = [
        rng.random(60),
        rng.random(60) + (labels == 0).any(axis=1).astype(np.float64),
        (rng.permutation(60) % 2).astype(np.float64),
    ]
    for values in samples:
        deviations = values - values.mean()
        shares = np.array([[bool(set(a) & set(b)) for b in labels.tolist()] for a in labels.tolist()])
        products = np.outer(deviations, deviations)
        expected = products[shares].sum() / (~shares).sum()
        assert expected == pytest.approx(-products[~shares].mean(), rel=1e-9)
        independent = values.var(ddof=1) / 60
        found = Clusters(labels).spread(values)
        if expected <= independent:
            assert found.variance == pytest.approx(independent, rel=1e-9)
            assert found.degrees == 59
        else:
            sizes = np.bincount(labels.ravel())
            assert found.variance == pytest.approx(expected, rel=1e-9)
            few = 60**2 * ways / (sizes**2).sum() - 1
            parts = independent**2 / 59 + (expected**2 - independent**2) / few
            assert found.degrees == pytest.approx(expected**2 / parts)


def test_variance_is_right_on_average() -> None:
    """Of all pairs of photos that make their pairs easier or harder."""
    rng = np.random.default_rng(0)
    pairs = Clusters(np.array([(i, j) for i in range(14) for j in range(i)]))
    found = []
    for _ in range(1500):
        ease = rng.normal(size=14)
        found.append(pairs.spread(ease[pairs.labels].sum(axis=1) + rng.normal(size=91)).variance)
    assert np.mean(found) == pytest.approx(4 / 14 + 1 / 91, abs=4 * np.std(found) / np.sqrt(1500))


def test_one_group_tells_nothing() -> None:
    for labels in (np.zeros(5, dtype=int), np.array([[0, 1], [1, 2], [2, 0]]), np.array([[0, 1]])):
        spread = Clusters(labels).spread(np.arange(float(len(labels))))
        assert np.isnan(spread.variance) and not spread.degrees
    assert Clusters.independent(5).is_independent
    assert Clusters(np.array([0, 0, 1, 1])).effective == 2
    assert Clusters(np.array([[0, 1], [2, 3], [4, 5]])).effective == 3
    assert Clusters(np.array([[0, 1], [1, 2], [2, 0]])).effective == 1.5
    with pytest.raises(ValueError, match=r"shape \[n\] or \[n, ways\], but got \[0\]"):
        Clusters(np.array([], dtype=int))


def test_a_label_twice_is_an_error() -> None:
    """It would count a sample's product with itself twice."""
    with pytest.raises(ValueError, match=r"no sample a label twice, but sample 1 has \[5, 5\]"):
        Clusters(np.array([[3, 5], [5, 5], [7, 7]]))
    assert Clusters(np.array([[3, 5], [5, 3]])).count == 2
