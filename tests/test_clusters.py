"""Variances of means of samples that hang together, against statsmodels and all pairs one by one."""

from __future__ import annotations

import numpy as np
import pytest

from unisim_metrics.statistics.clusters import Clusters


@pytest.mark.parametrize(("n", "groups"), [(2, 2), (50, 9), (400, 40)])
def test_variance_is_the_cluster_robust_one(n: int, groups: int) -> None:
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.default_rng(n)
    labels = np.arange(n) % groups
    values = rng.random(n)
    fitted = sm.OLS(values, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    assert Clusters(labels).variance(values) == pytest.approx(fitted.bse[0] ** 2, rel=1e-9)


@pytest.mark.parametrize("ways", [2, 3])
def test_variance_of_pairs_is_that_of_all_products(ways: int) -> None:
    rng = np.random.default_rng(ways)
    labels = np.array([rng.choice(9, ways, replace=False) for _ in range(60)])
    values = rng.random(60) + (labels == 0).any(axis=1)
    deviations = values - values.mean()
    share = np.array([[bool(set(a) & set(b)) for b in labels.tolist()] for a in labels.tolist()])
    count = len(np.unique(labels))
    expected = deviations @ share @ deviations / 60**2 * count / (count - 1)
    plain = (deviations**2).sum() / 60 / 59
    assert Clusters(labels).variance(values) == pytest.approx(max(expected, plain), rel=1e-9)


def test_one_group_tells_nothing() -> None:
    assert np.isnan(Clusters(np.zeros(5, dtype=int)).variance(np.arange(5.0)))
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
