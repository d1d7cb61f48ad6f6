"""UniSimScore: what it computes, against plain transformers; and the arguments of both metrics."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TEXTS, PlainClip, one_by_one, photos, pixels, tensor_of
from PIL import Image

from unisim_metrics import Prompts, UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_score
from unisim_metrics.metrics import backbone, base

ATTRIBUTES = ["quality", "brightness", "colorfulness", "contrast", "sharpness"]
PHOTOS = photos(6)
OTHERS = photos(6, seed=1)


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
def test_scores_of_attributes_are_the_papers(
    tiny_model: Any, plain: PlainClip, task: Any, method: Any
) -> None:
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
    stepwise, whole = (
        UniSimScore(tiny_model, reduction=reduction),
        UniSimScore(tiny_model, reduction=reduction),
    )
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
    for metric, batch in (
        (UniSimScore(broken), pixels(2)),
        (UniSimRanking(broken), pixels(4).view(2, 2, 3, 40, 40)),
    ):
        with pytest.raises(ValueError, match="Model 'OneByOne' gave scores that are not finite"):
            metric.update(batch)
        assert metric.update_count == 0


# Arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "beauty"}, ValueError, r"`task` must be one of .* or None, but got 'beauty'"),
        ({"method": "clip"}, ValueError, r"`method` must be one of \('naive', 'clip-iqa'\), but got 'clip'"),
        (
            {"prompts": "nice"},
            ValueError,
            r"`prompts` must be a `unisim_metrics.Prompts`, one of \('authors', 'paper'\), or None, but got 'nice'",
        ),
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
    with pytest.raises(
        ValueError, match=r"`task` must not be 'odd-one-out' for `UniSimScore`: use `UniSimRanking`"
    ):
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


def test_the_bundled_model_says_once_that_it_is_small(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "load_model", lambda name: tiny_model)
    base._warn_bundled.cache_clear()
    with pytest.warns(UserWarning, match=r"`unisim-mini` is small.*`unisim-vit-l-14`"):
        UniSimScore()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        UniSimRanking()
        UniSimScore(tiny_model)
