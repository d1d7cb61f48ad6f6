"""The tensor maths, each function against a plain restatement in NumPy or the library that others use."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics.functional.multimodal.clip_iqa import _clip_iqa_compute

from unisim_metrics.functional import (
    choose,
    clip_iqa_probability,
    cosine_similarity,
    hinge_loss,
    meetings,
    odd_one_out,
    rank,
    revisited_average_precision,
    wins,
)

NAN = float("nan")
RAGGED = torch.tensor([[0.1, 0.3, 0.2, NAN], [0.5, 0.5, NAN, NAN], [0.2, 0.9, 0.9, 0.1]])


def random_embeddings(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(array: np.ndarray) -> np.ndarray:
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


# Scores from embeddings


def test_cosine_similarity_is_the_dot_product_of_unit_vectors() -> None:
    first, second = random_embeddings(5, 16), random_embeddings(5, 16, seed=1)
    expected = (unit(first.double().numpy()) * unit(second.double().numpy())).sum(-1)
    np.testing.assert_allclose(cosine_similarity(first, second), expected, atol=1e-6)


def test_cosine_similarity_broadcasts_and_stays_in_range() -> None:
    vectors = random_embeddings(200, 7) * 1e3
    assert cosine_similarity(vectors[:, None], vectors[:3]).shape == (200, 3)
    assert cosine_similarity(vectors, vectors).max() <= 1
    assert cosine_similarity(vectors, -vectors).min() >= -1


def test_cosine_similarity_of_equal_vectors_has_a_finite_gradient() -> None:
    vectors = random_embeddings(4, 8).requires_grad_()
    cosine_similarity(vectors, vectors.detach()).sum().backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()


def test_clip_iqa_is_torchmetrics_own_formula() -> None:
    images = torch.nn.functional.normalize(random_embeddings(6, 16), dim=-1)
    anchors = torch.nn.functional.normalize(random_embeddings(2, 16, seed=1), dim=-1)
    expected = _clip_iqa_compute(images, anchors, ["quality"])
    torch.testing.assert_close(
        clip_iqa_probability(images, anchors[0], anchors[1]), expected, rtol=1e-4, atol=1e-6
    )


def test_clip_iqa_is_a_softmax_of_scaled_similarities_of_any_length_of_vectors() -> None:
    images, positive, negative = (
        random_embeddings(6, 16),
        random_embeddings(16, seed=1),
        random_embeddings(16, seed=2),
    )
    similarities = unit(images.double().numpy()) @ unit(torch.stack([positive, negative]).double().numpy()).T
    exponentials = np.exp(10 * similarities)
    expected = exponentials[:, 0] / exponentials.sum(-1)
    np.testing.assert_allclose(
        clip_iqa_probability(images, positive, negative, scale=10), expected, atol=1e-6
    )


def test_odd_one_out_scores_each_image_by_the_similarity_of_the_other_two() -> None:
    triplets = random_embeddings(10, 3, 16)
    scores = odd_one_out(triplets)
    for triplet, row in zip(unit(triplets.double().numpy()), scores, strict=True):
        expected = {left_out: 0.0 for left_out in range(3)}
        for first, second in combinations(range(3), 2):
            expected[3 - first - second] = float(triplet[first] @ triplet[second])
        np.testing.assert_allclose(row, list(expected.values()), atol=1e-6)


def test_odd_one_out_finds_the_stranger_wherever_it_stands() -> None:
    friend, stranger = random_embeddings(1, 16), random_embeddings(1, 16, seed=1)
    for position in range(3):
        triplet = friend + 0.01 * random_embeddings(3, 16, seed=2)
        triplet[position] = stranger
        assert choose(odd_one_out(triplet.unsqueeze(0))).tolist() == [position]


def test_odd_one_out_refuses_other_than_three() -> None:
    with pytest.raises(
        ValueError, match=r"`images` must be embeddings \[..., 3, D\], but got shape \(2, 4, 8\)"
    ):
        odd_one_out(random_embeddings(2, 4, 8))


# From scores to choices, ranks and wins


def test_choose_takes_the_first_of_a_tie_and_never_an_absent_alternative() -> None:
    assert choose(RAGGED).tolist() == [1, 0, 1]
    assert choose(torch.tensor([[-0.5, -0.2, NAN]])).tolist() == [1]


def test_ranks_are_scipys_average_ranks() -> None:
    for row, ranks in zip(RAGGED, rank(RAGGED), strict=True):
        present = ~row.isnan()
        assert ranks[present].tolist() == rankdata(-row[present].numpy(), method="average").tolist()
        assert ranks[~present].isnan().all()


def test_wins_and_meetings_count_every_pair() -> None:
    won, met = wins(RAGGED), meetings(RAGGED)
    for group, row in enumerate(RAGGED.tolist()):
        for i, first in enumerate(row):
            for j, second in enumerate(row):
                both = i != j and not np.isnan(first) and not np.isnan(second)
                assert met[group, i, j] == int(both)
                assert won[group, i, j] == (both and 2 * (first > second) + (first == second))


@st.composite
def score_tables(draw: st.DrawFn) -> Tensor:
    """Scores with many ties; every group has at least two alternatives, absent ones at the end."""
    groups, size = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    values = draw(st.lists(st.integers(-4, 4), min_size=groups * size, max_size=groups * size))
    scores = torch.tensor(values, dtype=torch.float32).view(groups, size) / 4
    for group in range(groups):
        scores[group, draw(st.integers(2, size)) :] = NAN
    return scores


@given(score_tables(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_ranks_and_wins_follow_a_permutation_of_the_alternatives(scores: Tensor, random: Any) -> None:
    order = list(range(scores.shape[-1]))
    random.shuffle(order)
    torch.testing.assert_close(rank(scores[:, order]), rank(scores)[:, order], equal_nan=True)
    assert torch.equal(wins(scores[:, order]), wins(scores)[:, order][:, :, order])
    assert torch.equal(meetings(scores[:, order]), meetings(scores)[:, order][:, :, order])
    chosen = scores[:, order].gather(-1, choose(scores[:, order]).unsqueeze(-1))
    assert torch.equal(chosen, scores.gather(-1, choose(scores).unsqueeze(-1)))


@given(score_tables())
@settings(max_examples=60, deadline=None)
def test_ranks_agree_with_wins_and_sum_to_a_constant(scores: Tensor) -> None:
    present = ~scores.isnan()
    sizes = present.sum(-1)
    assert torch.equal(rank(scores).nansum(-1), sizes * (sizes + 1) / 2)
    assert torch.equal(wins(scores) + wins(scores).mT, 2 * meetings(scores))
    assert (rank(scores).gather(-1, choose(scores).unsqueeze(-1)).squeeze(-1) <= (sizes + 1) / 2).all()


@given(score_tables())
@settings(max_examples=30, deadline=None)
def test_groups_do_not_see_their_neighbours(scores: Tensor) -> None:
    choices = torch.zeros(len(scores), dtype=torch.long)
    for group in range(len(scores)):
        alone = scores[group : group + 1]
        torch.testing.assert_close(rank(alone), rank(scores)[group : group + 1], equal_nan=True)
        assert torch.equal(wins(alone), wins(scores)[group : group + 1])
        assert choose(alone) == choose(scores)[group]
        torch.testing.assert_close(
            hinge_loss(alone, choices[:1], reduction="none"),
            hinge_loss(scores, choices, reduction="none")[group : group + 1],
            equal_nan=True,
        )


@given(st.integers(0, 2**31), st.permutations(range(3)))
@settings(max_examples=30, deadline=None)
def test_odd_one_out_follows_a_permutation_of_the_images(seed: int, order: list[int]) -> None:
    triplets = random_embeddings(2, 3, 8, seed=seed)
    torch.testing.assert_close(odd_one_out(triplets[:, order]), odd_one_out(triplets)[:, order])


# The hinge of the paper


def hinge_in_numpy(scores: Tensor, choices: list[int], margin: float) -> np.ndarray:
    losses = []
    for row, chosen in zip(scores.double().numpy(), choices, strict=True):
        others = np.delete(row, chosen)
        losses.append(
            [NAN if np.isnan(other) else max(0.0, margin - row[chosen] + other) for other in others]
        )
    return np.array(losses)


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("ragged", [False, True])
def test_hinge_loss_is_equation_one(margin: float, ragged: bool) -> None:
    scores = RAGGED if ragged else random_embeddings(5, 4)
    choices = [1, 0, 3] if ragged else [0, 3, 2, 1, 1]
    expected = hinge_in_numpy(scores, choices, margin)
    target = torch.tensor(choices)
    np.testing.assert_allclose(hinge_loss(scores, target, margin, "none"), expected, atol=1e-6)
    np.testing.assert_allclose(hinge_loss(scores, target, margin, "mean"), np.nanmean(expected), atol=1e-6)
    np.testing.assert_allclose(hinge_loss(scores, target, margin, "sum"), np.nansum(expected), atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hinge_loss_of_ragged_groups_has_finite_gradients(reduction: Any) -> None:
    scores = RAGGED.clone().requires_grad_()
    hinge_loss(scores, torch.tensor([0, 1, 3]), 0.05, reduction).backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert (scores.grad[RAGGED.isnan()] == 0).all()


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_hinge_loss_takes_integers_of_any_width(dtype: torch.dtype) -> None:
    assert hinge_loss(torch.tensor([[0.9, 0.1]]), torch.tensor([0], dtype=dtype)) == 0


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        (torch.tensor([0, 4]), ValueError, r"`choices` must be indices of alternatives .* but got \[0, 4\]"),
        (
            torch.tensor([-1, 0]),
            ValueError,
            r"`choices` must be indices of alternatives .* but got \[-1, 0\]",
        ),
        (torch.tensor([2, 2]), ValueError, r"`choices` must be indices of alternatives .* but got \[2, 2\]"),
        (
            torch.tensor([0]),
            ValueError,
            r"`choices` must have one entry a group, shape \(2,\), but got \(1,\)",
        ),
        (torch.tensor([0.0, 1.0]), TypeError, r"`choices` must hold integers, but got torch.float32"),
        (torch.tensor([True, False]), TypeError, r"`choices` must hold integers, but got torch.bool"),
    ],
)
def test_hinge_loss_refuses_bad_choices(choices: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hinge_loss(RAGGED[:2, :3], choices)


def test_hinge_loss_refuses_another_reduction() -> None:
    with pytest.raises(ValueError, match=r"`reduction` must be one of .* but got 'max'"):
        hinge_loss(RAGGED, torch.tensor([0, 0, 0]), reduction="max")  # type: ignore[arg-type]


# Retrieval


def average_precision_of_the_protocol(ranks: list[int], positives: int) -> float:
    """`compute_ap` of the revisited Oxford and Paris evaluation, ranks from zero."""
    total = 0.0
    for found, place in enumerate(ranks):
        before = 1.0 if place == 0 else found / place
        after = (found + 1) / (place + 1)
        total += (before + after) / positives / 2
    return total


def retrieval_in_numpy(scores: np.ndarray, kinds: np.ndarray, protocol: str) -> float:
    """`compute_map` of that evaluation for one query; kinds are 'e'asy, 'h'ard, 'j'unk and 'n'egative."""
    right, ignored = {"easy": ("e", "hj"), "medium": ("eh", "j"), "hard": ("h", "ej")}[protocol]
    ranked = [kinds[index] for index in np.argsort(-scores, kind="stable") if kinds[index] not in ignored]
    places = [place for place, kind in enumerate(ranked) if kind in right]
    return average_precision_of_the_protocol(places, len(places)) if places else NAN


def masks_of(kinds: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    easy, hard, junk = (torch.from_numpy(kinds == kind) for kind in "ehj")
    return easy, hard, junk


@pytest.mark.parametrize("protocol", ["easy", "medium", "hard"])
def test_average_precision_is_the_revisited_protocols(protocol: Any) -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(12, 40))
    kinds = random.choice(list("ehjn"), size=(12, 40), p=[0.1, 0.1, 0.2, 0.6])
    expected = [retrieval_in_numpy(row, kind, protocol) for row, kind in zip(scores, kinds, strict=True)]
    result = revisited_average_precision(torch.from_numpy(scores), *masks_of(kinds), protocol)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_average_precision_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    easy, hard, junk = masks_of(np.array([list("jene")]))
    # Without the junk image the ranking is positive, negative, positive: ((1 + 1) + (1/2 + 2/3)) / 2 / 2.
    assert revisited_average_precision(scores, easy, hard, junk).item() == pytest.approx(
        (2 + 1 / 2 + 2 / 3) / 4
    )


def test_average_precision_without_positives_is_nan() -> None:
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    assert revisited_average_precision(torch.rand(2, 5), nothing, nothing, nothing).isnan().all()


@given(st.integers(0, 2**31), st.permutations(range(9)))
@settings(max_examples=40, deadline=None)
def test_average_precision_does_not_depend_on_the_order_of_the_gallery(seed: int, order: list[int]) -> None:
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.permutation(9).astype(np.float32))[None]
    masks = masks_of(random.choice(list("ehjn"), size=(1, 9)))
    result = revisited_average_precision(scores, *masks)
    permuted = revisited_average_precision(scores[:, order], *(mask[:, order] for mask in masks))
    torch.testing.assert_close(result, permuted, equal_nan=True)
    assert result.isnan().all() or bool(((result >= 0) & (result <= 1)).all())


def test_average_precision_refuses_bad_arguments() -> None:
    scores, mask = torch.rand(2, 5), torch.zeros(2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"`protocol` must be one of .* but got 'all'"):
        revisited_average_precision(scores, mask, mask, mask, "all")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"`hard` must have the shape of `scores`, \(2, 5\), but got \(2, 4\)"
    ):
        revisited_average_precision(scores, mask, mask[:, :4], mask)
    with pytest.raises(TypeError, match=r"`junk` must be a bool tensor, but got torch.int64"):
        revisited_average_precision(scores, mask, mask, mask.long())
