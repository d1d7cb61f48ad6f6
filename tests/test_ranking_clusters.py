"""UniSimRanking that is told what its groups are of: intervals against those of the samples themselves."""

from __future__ import annotations

from itertools import combinations, count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import TEXTS, pixels

from unisim_metrics import UniSimRanking
from unisim_metrics.functional import unisim_rank
from unisim_metrics.metrics.clusters import SLOTS, cluster_slots
from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.confidence import estimate
from unisim_metrics.statistics.tallies import spread_of_clusters
from unisim_metrics.statistics.verdict import judge
from unisim_metrics.statistics.wins import cluster_sign_test_p

INTERVALS = ("win_rate_interval", "win_matrix_interval", "p_values", "strengths", "strengths_interval")


def clustered(model: Any, **options: Any) -> UniSimRanking:
    metric = UniSimRanking(model, confidence=0.95, clustered=True, max_alternatives=4, **options)
    return metric.set_dtype(torch.float64)  # type: ignore[return-value]


@pytest.mark.parametrize("positions", [2, 3])
def test_figures_are_those_of_a_verdict(exact: Any, positions: int) -> None:
    groups = 24
    images = pixels(groups * positions, seed=positions).view(groups, positions, 3, 40, 40)
    texts = [TEXTS[number // 3 % 6] + f" {number // 18}" for number in range(groups)]
    scores = unisim_rank(images, texts, exact).double().numpy()
    verdict = judge(scores, texts)
    assert verdict.clusters == 8 == len(set(cluster_slots(texts, groups).tolist()))
    plain = UniSimRanking(exact, max_alternatives=4).set_dtype(torch.float64)
    metric = clustered(exact)
    for start, end in ((18, 24), (0, 7), (7, 18)):
        batch = images[start:end], texts[start:end]
        plain.update(*batch)
        metric.update(*batch, clusters=texts[start:end])
    found = metric.compute()
    for name, value in plain.compute().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)
    for standing in verdict.standings:
        ends = found["win_rate_interval"][standing.index].tolist()
        assert ends == pytest.approx((standing.win_rate.low, standing.win_rate.high), abs=1e-9)
        assert (standing.strength is None) == (positions == 2)
        if standing.strength is not None:
            assert found["strengths"][standing.index] == pytest.approx(standing.strength.value, abs=1e-9)
            ends = found["strengths_interval"][standing.index].tolist()
            assert ends == pytest.approx((standing.strength.low, standing.strength.high), abs=1e-9)
    for duel in verdict.duels:
        pair = duel.first, duel.second
        ends = found["win_matrix_interval"][pair].tolist()
        assert ends == pytest.approx((duel.share.low, duel.share.high), abs=1e-9)
        assert found["win_matrix_interval"][pair[::-1]].tolist() == pytest.approx(
            [1 - end for end in ends[::-1]]
        )
        assert found["p_values"][pair].item() == pytest.approx(duel.p, abs=1e-9)
    assert found["win_matrix_interval"][0, 0].isnan().all()


def test_positions_that_some_groups_lack_are_judged_by_those_that_have_them(exact: Any) -> None:
    sizes = [2, 4, 3, 2, 4, 4, 3, 4]
    names = ["a", "a", "b", "b", "c", "c", "d", "d"]
    images = list(pixels(sum(sizes)))
    groups = [[images.pop() for _ in range(size)] for size in sizes]
    metric = clustered(exact)
    metric.update(groups, (TEXTS * 2)[:8], clusters=names)
    found = metric.compute()
    scores = unisim_rank(groups, (TEXTS * 2)[:8], exact).double().numpy()
    labels = np.repeat(np.arange(4), 2)
    for i, j in combinations(range(4), 2):
        there = ~np.isnan(scores[:, j])
        values = (np.sign(scores[there, i] - scores[there, j]) + 1) / 2
        clusters = Clusters(labels[there])
        expected = estimate(values, clusters)
        assert found["win_matrix_interval"][i, j].tolist() == pytest.approx(
            [expected.low, expected.high], abs=1e-9
        )
        margins = clusters.totals(2 * values - 1).astype(np.int64)
        assert found["p_values"][i, j].item() == pytest.approx(cluster_sign_test_p(margins), abs=1e-9)
    assert found["strengths"].sum().item() == pytest.approx(0, abs=1e-9)


def test_groups_of_their_own_are_independent(exact: Any) -> None:
    images = pixels(30, seed=5).view(10, 3, 3, 40, 40)
    told, untold = clustered(exact), UniSimRanking(exact, confidence=0.95).set_dtype(torch.float64)
    told.update(images, TEXTS[0], clusters=torch.arange(10))
    untold.update(images, TEXTS[0])
    assert len(set(cluster_slots(range(10), 10).tolist())) == 10
    expected = untold.compute()
    for name, value in told.compute().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-9, equal_nan=True)


def test_clusters_that_meet_in_a_slot_count_as_one(exact: Any) -> None:
    first = cluster_slots([0], 1).item()
    other = next(number for number in count(1) if cluster_slots([number], 1).item() == first)
    images = pixels(12, seed=6).view(6, 2, 3, 40, 40)
    found = []
    for names in ([0, other, 0, other, "b", "c"], [0, 0, 0, 0, "b", "c"]):
        metric = clustered(exact)
        metric.update(images, TEXTS[0], clusters=names)
        found.append(metric.compute())
    for name in INTERVALS[:3]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=0, atol=0, equal_nan=True)


def test_one_group_and_none(exact: Any) -> None:
    metric = clustered(exact)
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert "win_rate_interval" not in metric.compute()
    metric.update(pixels(3)[None], TEXTS[0], clusters=["only"])
    found = metric.compute()
    assert found["p_values"][0, 1] == 1
    for name in INTERVALS:
        assert found[name].isfinite().all() or name in INTERVALS[1:3]


def test_batches_that_are_forwarded_tell_of_themselves(exact: Any) -> None:
    images = pixels(24, seed=7).view(12, 2, 3, 40, 40)
    names = [f"prompt {number // 2}" for number in range(12)]
    metric, alone, whole = (clustered(exact) for _ in range(3))
    for part in (slice(0, 6), slice(6, 12)):
        step = metric(images[part], TEXTS[0], clusters=names[part])
        alone.reset()
        alone.update(images[part], TEXTS[0], clusters=names[part])
        for name, value in alone.compute().items():
            torch.testing.assert_close(step[name], value, rtol=0, atol=0, equal_nan=True)
    whole.update(images, TEXTS[0], clusters=names)
    for name, value in whole.compute().items():
        torch.testing.assert_close(metric.compute()[name], value, rtol=0, atol=0, equal_nan=True)


def test_states_are_as_large_as_they_are_said_to_be(exact: Any) -> None:
    for alternatives, megabytes in ((4, 0.2), (32, 9)):
        metric = UniSimRanking(exact, confidence=0.95, clustered=True, max_alternatives=alternatives)
        states = [getattr(metric, name) for name in metric._defaults]
        assert sum(state.nbytes for state in states) / 1e6 == pytest.approx(megabytes, rel=0.05)


@given(st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=20))
def test_a_slot_goes_by_the_name(names: list[str | int]) -> None:
    slots = cluster_slots(names, len(names))
    assert slots.shape == (len(names),) and slots.dtype == torch.long
    assert ((slots >= 0) & (slots < SLOTS)).all()
    assert torch.equal(cluster_slots(names[::-1], len(names)), slots.flip(0))


def test_numbers_may_come_in_any_form() -> None:
    slots = cluster_slots([3, 1, 3], 3)
    for numbers in (torch.tensor([3, 1, 3]), np.array([3, 1, 3]), list(np.array([3, 1, 3])), (3, 1, 3)):
        assert torch.equal(cluster_slots(numbers, 3), slots)


def test_slots_are_the_same_everywhere_and_evenly_filled() -> None:
    assert cluster_slots(["a red ball", 0, "0", -1], 4).tolist() == [833, 885, 12, 230]
    filled = torch.bincount(cluster_slots(torch.arange(50_000), 50_000), minlength=SLOTS).double()
    # By chance alone their counts would be Poisson's.
    assert filled.var().item() == pytest.approx(50_000 / SLOTS, rel=0.2)


@pytest.mark.parametrize(
    ("clusters", "error", "message"),
    [
        (None, ValueError, "`clusters` must be given with `clustered=True`"),
        (["a"], ValueError, r"one entry a group, shape \(2,\), but got \(1,\)"),
        (torch.zeros(2, 2, dtype=torch.long), ValueError, r"shape \(2,\), but got \(2, 2\)"),
        ("ab", TypeError, "a string or an integer for each group, but got 'ab'"),
        (7, TypeError, "a string or an integer for each group, but got 7"),
        (torch.zeros(2), TypeError, "a string or an integer for each group, but got 0.0"),
        ([True, False], TypeError, "a string or an integer for each group, but got True"),
        (["a", None], TypeError, "a string or an integer for each group, but got None"),
    ],
)
def test_what_is_no_cluster(exact: Any, clusters: Any, error: type[Exception], message: str) -> None:
    metric = clustered(exact)
    with pytest.raises(error, match=message):
        metric.update(pixels(4).view(2, 2, 3, 40, 40), TEXTS[:2], clusters=clusters)
    assert metric.groups.sum() == 0 and metric.cluster_groups.sum() == 0


def test_clusters_without_intervals_are_refused(exact: Any) -> None:
    with pytest.raises(ValueError, match="`clustered` must come with `confidence`"):
        UniSimRanking(exact, clustered=True)
    with pytest.raises(
        ValueError, match=r"`clusters` needs `UniSimRanking\(confidence=..., clustered=True\)`"
    ):
        UniSimRanking(exact, confidence=0.95).update(pixels(2)[None], TEXTS[0], clusters=["a"])


def test_sums_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="0 <= total <= size"):
        spread_of_clusters(np.ones((2, 2), dtype=int), np.full((2, 2), 3.0), np.zeros((2, 2, 2), dtype=int))
