"""UniSimScore and UniSimRanking: what they compute, against plain transformers and NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TEXTS, PlainClip, one_by_one, photos, pixels, tensor_of
from PIL import Image
from scipy.stats import rankdata
from torch import Tensor

from unisim_metrics import Prompts, UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_rank, unisim_score

ATTRIBUTES = ["quality", "brightness", "colorfulness", "contrast", "sharpness"]
PHOTOS = photos(6)
OTHERS = photos(6, seed=1)


@pytest.fixture(scope="module")
def plain(tiny_clip_dir: Path) -> PlainClip:
    return PlainClip(tiny_clip_dir)


@pytest.fixture(scope="module")
def exact() -> Any:
    """A model whose embeddings do not depend on the batch in a single bit."""
    return one_by_one()


# UniSimScore


def pairs(plain: PlainClip, task: str) -> tuple[Any, Any, np.ndarray]:
    """Predictions, targets and the scores that they should get."""
    if task == "image-image":
        return PHOTOS, OTHERS, (plain.images(PHOTOS) * plain.images(OTHERS)).sum(-1)
    if task == "image-text":
        return PHOTOS, TEXTS, (plain.images(PHOTOS) * plain.texts(TEXTS)).sum(-1)
    return TEXTS, PHOTOS, (plain.texts(TEXTS) * plain.images(PHOTOS)).sum(-1)


@pytest.mark.parametrize("task", ["image-image", "image-text", "caption"])
def test_scores_of_pairs_are_plain_cosine_similarities(tiny_model: Any, plain: PlainClip, task: str) -> None:
    preds, target, expected = pairs(plain, task)
    mean, each = UniSimScore(tiny_model), UniSimScore(tiny_model, reduction="none")
    mean.update(preds, target)
    each.update(preds, target)
    assert mean.compute().shape == () and each.compute().shape == (6,)
    np.testing.assert_allclose(each.compute(), expected, atol=2e-6)
    np.testing.assert_allclose(mean.compute(), expected.mean(), atol=2e-6)
    assert f"|task:{task}|" in mean.signature
    np.testing.assert_allclose(unisim_score(preds, target, tiny_model, reduction="none"), expected, atol=2e-6)
    np.testing.assert_allclose(unisim_score(preds, target, tiny_model), expected.mean(), atol=2e-6)


@pytest.mark.parametrize("task", ATTRIBUTES)
@pytest.mark.parametrize("method", ["naive", "clip-iqa"])
def test_scores_of_attributes_are_the_papers(tiny_model: Any, plain: PlainClip, task: Any, method: Any) -> None:
    expected = plain.attribute(PHOTOS, task, method)
    metric = UniSimScore(tiny_model, None if task == "quality" else task, method, reduction="none")
    metric.update(PHOTOS)
    np.testing.assert_allclose(metric.compute(), expected, atol=1e-4 if method == "clip-iqa" else 2e-6)
    assert f"|task:{task}/{method}|" in metric.signature
    assert metric.compute().min() >= (0 if method == "clip-iqa" else -1)


def test_the_callers_prompts_take_the_place_of_the_papers(tiny_model: Any, plain: PlainClip) -> None:
    own = Prompts(*TEXTS[:3])
    metric = UniSimScore(tiny_model, prompts=own, reduction="none")
    metric.update(PHOTOS)
    np.testing.assert_allclose(metric.compute(), plain.images(PHOTOS) @ plain.texts(TEXTS[:1])[0], atol=2e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_forward_is_update_and_compute(tiny_model: Any, reduction: Any) -> None:
    stepwise, whole = UniSimScore(tiny_model, reduction=reduction), UniSimScore(tiny_model, reduction=reduction)
    for start in (0, 2, 4):
        batch = PHOTOS[start : start + 2], TEXTS[start : start + 2]
        alone = UniSimScore(tiny_model, reduction=reduction)
        alone.update(*batch)
        assert torch.equal(stepwise(*batch), alone.compute())
        whole.update(*batch)
    assert torch.equal(stepwise.compute(), whole.compute())
    by_name = UniSimScore(tiny_model, reduction=reduction)(preds=PHOTOS, target=TEXTS)
    torch.testing.assert_close(by_name, whole.compute(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sizes", [(1,) * 24, (5, 7, 12), (23, 1)])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_split_into_batches_changes_no_bit(exact: Any, sizes: tuple[int, ...], reduction: Any) -> None:
    images, targets = pixels(24), pixels(24, seed=1)
    whole, split = UniSimScore(exact, reduction=reduction), UniSimScore(exact, reduction=reduction)
    whole.update(images, targets)
    for batch, target in zip(images.split(sizes), targets.split(sizes), strict=True):
        split.update(batch, target)
    assert torch.equal(whole.compute(), split.compute())


def test_the_order_of_batches_does_not_change_the_mean_by_a_bit(exact: Any) -> None:
    images = pixels(64)
    forwards, backwards = UniSimScore(exact), UniSimScore(exact)
    for batch in images.split(3):
        forwards.update(batch)
    for batch in reversed(images.split(3)):
        backwards.update(batch)
    assert torch.equal(forwards.compute(), backwards.compute())


def test_a_score_depends_on_neighbours_by_rounding_at_most(tiny_model: Any) -> None:
    whole = unisim_score(PHOTOS, TEXTS, tiny_model, reduction="none")
    alone = [unisim_score(photo, text, tiny_model) for photo, text in zip(PHOTOS, TEXTS, strict=True)]
    torch.testing.assert_close(whole, torch.stack(alone), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float_inputs_of_every_precision_score_like_bytes(tiny_model: Any, dtype: torch.dtype) -> None:
    images = pixels(6)
    expected = unisim_score(images, TEXTS, tiny_model, reduction="none")
    metric = UniSimScore(tiny_model, reduction="none")
    metric.update((images.double() / 255).to(dtype), TEXTS)
    assert metric.compute().dtype == torch.float32
    tolerance = 0.02 if dtype in (torch.float16, torch.bfloat16) else 2e-3
    torch.testing.assert_close(metric.compute(), expected, atol=tolerance, rtol=0)


def test_before_the_first_update_the_mean_is_nan_and_the_list_empty(tiny_model: Any) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert UniSimScore(tiny_model).compute().isnan()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert UniSimScore(tiny_model, reduction="none").compute().shape == (0,)


def test_scores_that_are_not_finite_are_an_error_not_a_mean(exact: Any) -> None:
    broken = one_by_one()
    with torch.no_grad():
        broken.backbone.image_weights.fill_(torch.inf)
    for metric, batch in ((UniSimScore(broken), pixels(2)), (UniSimRanking(broken), pixels(4).view(2, 2, 3, 40, 40))):
        with pytest.raises(ValueError, match="Model 'OneByOne' gave scores that are not finite"):
            metric.update(batch)
        assert metric.update_count == 0


# UniSimRanking


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
def test_rankings_of_any_size_and_task(tiny_model: Any, plain: PlainClip, sizes: list[int], task: Any) -> None:
    count = sum(sizes)
    pool: list[Any] = [f"{text} {i}" for i in range(2) for text in TEXTS] if task == "caption" else photos(count, seed=2)
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


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "iqa"}, ValueError, r"`task` must be one of .* or None, but got 'iqa'"),
        ({"method": "clip"}, ValueError, r"`method` must be one of \('naive', 'clip-iqa'\), but got 'clip'"),
        ({"prompts": "nice"}, TypeError, r"`prompts` must be a `unisim_metrics.Prompts` or None, but got 'nice'"),
    ],
)
@pytest.mark.parametrize("kind", [UniSimScore, UniSimRanking])
def test_bad_settings_are_refused(exact: Any, kind: Any, arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        kind(exact, **arguments)


def test_bad_settings_of_one_metric_are_refused(exact: Any) -> None:
    with pytest.raises(ValueError, match=r"`reduction` must be one of \('mean', 'none'\), but got 'sum'"):
        UniSimScore(exact, reduction="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`reduction` must be one of \('mean', 'none'\), but got 'sum'"):
        unisim_score(PHOTOS, TEXTS, exact, reduction="sum")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`task` must not be 'odd-one-out' for `UniSimScore`: use `UniSimRanking`"):
        UniSimScore(exact, task="odd-one-out")
    with pytest.raises(ValueError, match=r"`max_alternatives` must be an integer of at least 2, but got 1"):
        UniSimRanking(exact, max_alternatives=1)


@pytest.mark.parametrize("kind", [UniSimScore, UniSimRanking])
def test_an_unknown_model_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"must be one of .*'unisim-mini'.* but got 'unisim-maxi'"):
        kind("unisim-maxi")


def test_the_kinds_of_images_may_be_mixed(exact: Any, tmp_path: Path) -> None:
    photo = PHOTOS[0]
    photo.save(tmp_path / "photo.png")
    mixed = [photo, tmp_path / "photo.png", tensor_of(photo), tensor_of(photo.convert("RGBA"))]
    scores = unisim_score(mixed, [photo] * 4, exact, reduction="none")
    assert scores.min() > 0.999
    by_name = UniSimScore(exact, task="image-image")
    assert by_name(str(tmp_path / "photo.png"), Image.open(tmp_path / "photo.png")) > 0.999
