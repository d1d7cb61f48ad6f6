"""UniSimRanking: what it computes, against plain transformers and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import TEXTS, PlainClip, photos, pixels
from scipy.stats import binomtest, rankdata
from torch import Tensor

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.functional import unisim_rank
from unisim_metrics.images import Preprocessing
from unisim_metrics.statistics.strengths import estimate_strengths

PHOTOS = photos(6)


class Expected:
    """What a ranking should compute from tables of scores, in NumPy; absent alternatives are NaN."""

    def __init__(self, groups: list[np.ndarray]) -> None:
        self.size = max(len(group) for group in groups)
        self.win_rate, self.mean_rank = np.zeros(self.size), np.zeros(self.size)
        beaten, met = np.zeros((self.size, self.size)), np.zeros((self.size, self.size))
        count = np.zeros(self.size)
        for group in groups:
            size = len(group)
            count[:size] += 1
            self.win_rate[:size] += (group == group.max()) / (group == group.max()).sum()
            self.mean_rank[:size] += rankdata(-group)
            beaten[:size, :size] += (group[:, None] > group) + 0.5 * (group[:, None] == group)
            met[:size, :size] += 1
        self.win_rate, self.mean_rank = self.win_rate / count, self.mean_rank / count
        np.fill_diagonal(met, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.win_matrix = np.where(met > 0, beaten / met, np.nan)

    def check(self, result: dict[str, Tensor]) -> None:
        np.testing.assert_allclose(result["win_rate"], self.win_rate, atol=1e-6)
        np.testing.assert_allclose(result["mean_rank"], self.mean_rank, atol=1e-6)
        np.testing.assert_allclose(result["win_matrix"], self.win_matrix, atol=1e-6)


def grouped(items: list[Any], sizes: list[int]) -> list[list[Any]]:
    ends = np.cumsum(sizes)
    return [items[end - size : end] for size, end in zip(sizes, ends, strict=True)]


@pytest.mark.parametrize("sizes", [[2, 2, 2], [3, 3], [4, 4], [5, 5], [2, 5, 3], [4, 2, 2]], ids=str)
@pytest.mark.parametrize("task", ["image-image", "image-text", "caption", "quality", "sharpness"])
def test_rankings_of_any_size_and_task(
    tiny_model: Any, plain: PlainClip, sizes: list[int], task: Any
) -> None:
    count = sum(sizes)
    pool: list[Any] = (
        [f"{text} {i}" for i in range(2) for text in TEXTS] if task == "caption" else photos(count, seed=2)
    )
    candidates = grouped(pool[:count], sizes)
    references: Any = {"image-image": PHOTOS, "image-text": TEXTS, "caption": PHOTOS}.get(task)
    references = references and references[: len(sizes)]

    def embed(items: Any) -> np.ndarray:
        return plain.texts(items) if isinstance(items[0], str) else plain.images(items)

    if references is None:
        groups = [plain.attribute(group, task, "naive") for group in candidates]
    else:
        anchors = embed(references)
        groups = [embed(group) @ anchor for group, anchor in zip(candidates, anchors, strict=True)]

    metric = UniSimRanking(tiny_model, task=task if task == "sharpness" else None)
    metric.update(candidates, references)
    assert set(metric.compute()) == {"win_rate", "mean_rank", "win_matrix"}
    Expected(groups).check(metric.compute())

    scores = unisim_rank(candidates, references, tiny_model, task=task)
    assert scores.shape == (len(sizes), max(sizes))
    for row, group in zip(scores, groups, strict=True):
        np.testing.assert_allclose(row[: len(group)], group, atol=2e-6)
        assert row[len(group) :].isnan().all()


def test_accuracy_is_the_share_of_groups_where_people_agree(tiny_model: Any) -> None:
    candidates, sizes = grouped(photos(9, seed=2), [2, 4, 3]), [2, 4, 3]
    chosen = unisim_rank(candidates, TEXTS[:3], tiny_model).nan_to_num(nan=-2).argmax(-1)
    human = chosen.clone()
    human[1] = (chosen[1] + 1) % sizes[1]
    metric = UniSimRanking(tiny_model)
    metric.update(candidates, TEXTS[:3], human)
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)
    metric.update(candidates, TEXTS[:3])
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3), "groups without a choice do not count"
    metric.update(candidates, TEXTS[:3], chosen.tolist())
    assert metric.compute()["accuracy"] == pytest.approx(5 / 6)


def test_odd_one_out_ranks_by_the_similarity_of_the_others(tiny_model: Any, plain: PlainClip) -> None:
    triplets = grouped(photos(9, seed=3), [3, 3, 3])
    groups = []
    for triplet in triplets:
        first, second, third = plain.images(triplet)
        groups.append(np.array([second @ third, first @ third, first @ second]))
    metric = UniSimRanking(tiny_model, task="odd-one-out")
    metric.update(triplets, choices=[int(group.argmax()) for group in groups])
    Expected(groups).check(metric.compute())
    assert metric.compute()["accuracy"] == 1
    assert "|task:odd-one-out|" in metric.signature


def test_a_tensor_of_groups_is_the_same_as_nested_lists(exact: Any) -> None:
    images = pixels(12)
    expected = unisim_rank([list(group) for group in images.split(3)], TEXTS[:4], exact)
    assert torch.equal(unisim_rank(images.view(4, 3, *images.shape[1:]), TEXTS[:4], exact), expected)
    assert torch.equal(unisim_rank(list(images.split(3)), TEXTS[:4], exact), expected)
    mixed = [images[:3], *[list(group) for group in images[3:].split(3)]]
    assert torch.equal(unisim_rank(mixed, TEXTS[:4], exact), expected)
    assert torch.equal(unisim_rank(mixed[::-1], TEXTS[:4][::-1], exact), expected.flip(0))


def test_ties_share_wins_and_ranks(exact: Any) -> None:
    image, other = pixels(2)
    metric = UniSimRanking(exact)
    metric.update([[image, image.clone(), other]], [image], choices=[1])
    result = metric.compute()
    assert result["win_rate"].tolist() == [0.5, 0.5, 0]
    assert result["mean_rank"].tolist() == [1.5, 1.5, 3]
    assert result["win_matrix"][0].nan_to_num(nan=-1).tolist() == [-1, 0.5, 1]
    assert result["accuracy"] == 0, "a tie counts for the first"


def test_positions_keep_their_place_when_later_batches_are_larger_or_smaller(exact: Any) -> None:
    images = list(pixels(14))
    batches = [grouped(images[:4], [2, 2]), grouped(images[4:9], [5]), grouped(images[9:], [3, 2])]
    metric = UniSimRanking(exact)
    for batch in batches:
        metric.update(batch, TEXTS[: len(batch)])
    tables = [
        unisim_rank([group], [text], exact)[0].numpy()
        for batch in batches
        for group, text in zip(batch, TEXTS, strict=False)
    ]
    Expected(tables).check(metric.compute())
    assert metric.compute()["win_rate"].shape == (5,)
    assert metric.compute()["win_matrix"][4].isnan().tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("sizes", [(1,) * 8, (3, 5), (7, 1)])
def test_rankings_do_not_depend_on_the_split_into_batches(exact: Any, sizes: tuple[int, ...]) -> None:
    candidates, references = pixels(24).view(8, 3, 3, 40, 40), pixels(8, seed=1)
    whole, split = UniSimRanking(exact), UniSimRanking(exact)
    choices = torch.arange(8) % 3
    expected = whole(candidates, references, choices)
    for batch in zip(candidates.split(sizes), references.split(sizes), choices.split(sizes), strict=True):
        split(candidates=batch[0], references=batch[1], choices=batch[2])
    for result in (whole.compute(), split.compute()):
        assert result.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(result[name], value, rtol=0, atol=0, equal_nan=True)


def test_groups_may_be_as_large_as_was_said_beforehand(exact: Any) -> None:
    metric = UniSimRanking(exact, max_alternatives=3)
    metric.update([list(pixels(3))])
    with pytest.raises(ValueError, match=r"at most 3 a group \(`max_alternatives`\), but got 4"):
        metric.update([list(pixels(4)), list(pixels(2))])
    assert metric.update_count == 1
    larger = UniSimRanking(exact, max_alternatives=40)
    larger.update([list(pixels(40))])
    assert larger.compute()["win_rate"].shape == (40,)


def test_before_the_first_update_there_are_no_positions(exact: Any) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        result = UniSimRanking(exact).compute()
    assert {name: tuple(value.shape) for name, value in result.items()} == {
        "win_rate": (0,),
        "mean_rank": (0,),
        "win_matrix": (0, 0),
    }


class RedAndGreen(torch.nn.Module):
    """Embeds a picture as its means of red and green, a good text as red, a bad one as green."""

    def encode_image(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))[:, :2]

    def encode_text(self, is_good: Tensor) -> Tensor:
        return torch.stack([is_good, ~is_good], dim=1).float()


def test_clip_iqa_ranks_what_its_probability_cannot_tell_apart() -> None:
    model = load_model(
        RedAndGreen(),
        preprocessing=Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1)),
        tokenizer=lambda texts: torch.tensor([text == "Good photo." for text in texts]),
    )
    greens = [0.5, 0.1, 0.3]
    images = torch.stack([torch.tensor([1.0, green, 0.0]) for green in greens]).view(1, 3, 3, 1, 1)
    images = images.expand(1, 3, 3, 8, 8)
    expected = [(1 - green) / np.hypot(1, green) for green in greens]
    probabilities = UniSimScore(model, method="clip-iqa", reduction="none")(images[0])
    assert probabilities.tolist() == [1.0, 1.0, 1.0]
    scores = unisim_rank(images, None, model, method="clip-iqa")
    np.testing.assert_allclose(scores[0], expected, atol=1e-6)
    ranking = UniSimRanking(model, method="clip-iqa")
    assert ranking(images, choices=[1])["mean_rank"].tolist() == [3.0, 1.0, 2.0]
    assert ranking.compute()["accuracy"] == 1


def test_confidence_adds_intervals_p_values_and_strengths(tiny_model: Any) -> None:
    items, texts = photos(36, seed=4), [f"{text} {i}" for i in range(3) for text in TEXTS][:9]
    groups = grouped(items, [4] * 9)
    scores = unisim_rank(groups, texts, tiny_model).double().numpy()
    plain = UniSimRanking(tiny_model).set_dtype(torch.float64)
    ranking = UniSimRanking(tiny_model, confidence=0.9).set_dtype(torch.float64)
    for start, end in ((0, 2), (2, 9)):
        plain.update(groups[start:end], texts[start:end])
        ranking.update(groups[start:end], texts[start:end])
    result = ranking.compute()
    for name, value in plain.compute().items():
        torch.testing.assert_close(result[name], value, rtol=0, atol=0, equal_nan=True)
    beaten = (scores[:, :, None] > scores[:, None]).astype(float)
    firsts = scores.argmax(axis=1)
    for i in range(4):
        expected = binomtest(int((firsts == i).sum()), 9).proportion_ci(0.9, "wilson")
        assert result["win_rate_interval"][i].tolist() == pytest.approx(list(expected), abs=1e-9)
        for j in set(range(4)) - {i}:
            test = binomtest(int(beaten[:, i, j].sum()), 9)
            assert result["p_values"][i, j].item() == pytest.approx(test.pvalue, abs=1e-9)
            expected = test.proportion_ci(0.9, "wilson")
            assert result["win_matrix_interval"][i, j].tolist() == pytest.approx(list(expected), abs=1e-9)
    assert result["p_values"].diagonal().isnan().all()
    totals = beaten.sum(axis=2)
    by_size = np.zeros((4, 4))
    by_size[3] = totals.sum(axis=0)
    found = estimate_strengths(
        beaten.sum(axis=0), np.array([0.0, 0, 0, 9]), by_size, totals.T @ totals, confidence=0.9
    )
    np.testing.assert_allclose(result["strengths"], found.values, atol=1e-9)
    np.testing.assert_allclose(
        result["strengths_interval"], np.stack([found.low, found.high], axis=1), atol=1e-9
    )


def test_confidence_of_two_positions_and_of_none(tiny_model: Any) -> None:
    ranking = UniSimRanking(tiny_model, confidence=0.95)
    ranking.update(grouped(photos(4), [2, 2]), TEXTS[:2])
    assert ranking.compute().keys() == {
        *("win_rate", "mean_rank", "win_matrix", "win_rate_interval", "win_matrix_interval", "p_values")
    }
    for wrong in (0.0, 1.0, 95, "0.95"):
        with pytest.raises(ValueError, match="`confidence`"):
            UniSimRanking(tiny_model, confidence=wrong)
