"""Columns of tables and datasets, arrays of strings, one text for all: every face takes them as it takes lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from oracle import TEXTS, photos, pixels
from torch import Tensor
from torchmetrics import MetricCollection

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore
from unisim_metrics.columns import as_lists
from unisim_metrics.functional import unisim_rank, unisim_score
from unisim_metrics.tasks import check_task, resolve_task

PHOTOS, IMAGES = photos(4), pixels(4)
PROMPTS = TEXTS[:4]
DATASET = Dataset.from_dict({"image": PHOTOS, "text": PROMPTS, "other": PROMPTS[::-1]})
TABLE = pd.DataFrame({"image": PHOTOS, "text": PROMPTS}, index=[7, 3, 1, 0])  # labels are no positions

TEXT_COLUMNS: dict[str, Any] = {
    "list": PROMPTS,
    "tuple": tuple(PROMPTS),
    "series": TABLE["text"],
    "series of strings": TABLE["text"].astype("string"),
    "array of strings": np.array(PROMPTS),
    "array of objects": np.array(PROMPTS, dtype=object),
    "dataset's column": DATASET["text"],
    "list of array's strings": list(np.array(PROMPTS)),
}
IMAGE_COLUMNS: dict[str, Any] = {
    "series": TABLE["image"],
    "dataset's column": DATASET["image"],
    "array of objects": TABLE["image"].to_numpy(),
    "tuple": tuple(PHOTOS),
}


def faces(model: Any) -> dict[str, Callable[[Any, Any], Tensor]]:
    def updated(images: Any, texts: Any) -> Tensor:
        metric = UniSimScore(model, reduction="none")
        metric.update(images, target=texts)
        return metric.compute()

    def collected(images: Any, texts: Any) -> Tensor:
        return MetricCollection({"score": UniSimScore(model, reduction="none")})(images, texts)["score"]

    return {
        "update": updated,
        "forward": UniSimScore(model, reduction="none"),
        "collection": collected,
        "function": lambda images, texts: unisim_score(images, texts, model, reduction="none"),
        "loss": lambda images, texts: 1 - UniSimLoss(model, reduction="none")(images, texts),
    }


@pytest.mark.parametrize("texts", TEXT_COLUMNS.values(), ids=TEXT_COLUMNS)
def test_columns_of_texts(exact: Any, texts: Any) -> None:
    expected = unisim_score(PHOTOS, PROMPTS, exact, reduction="none")
    for score in faces(exact).values():
        torch.testing.assert_close(score(PHOTOS, texts), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("images", IMAGE_COLUMNS.values(), ids=IMAGE_COLUMNS)
def test_columns_of_images(exact: Any, images: Any) -> None:
    expected = unisim_score(PHOTOS, PROMPTS, exact, reduction="none")
    for score in faces(exact).values():
        torch.testing.assert_close(score(images, PROMPTS), expected, rtol=0, atol=1e-6)
    assert unisim_score(images, None, exact, reduction="none").shape == (4,)


@pytest.mark.parametrize(
    ("candidates", "references", "choices"),
    [
        ([TABLE["image"][:2], TABLE["image"][2:]], TABLE["text"][:2], pd.Series([0, 1], index=[5, 2])),
        ([PHOTOS[:2], PHOTOS[2:]], np.array(PROMPTS[:2]), np.array([0, 1])),
        (pd.Series([PHOTOS[:2], PHOTOS[2:]]), DATASET["text"][:2], torch.tensor([0, 1])),
    ],
)
def test_columns_in_rankings(exact: Any, candidates: Any, references: Any, choices: Any) -> None:
    expected = UniSimRanking(exact)
    expected.update([PHOTOS[:2], PHOTOS[2:]], PROMPTS[:2], [0, 1])
    ranking = UniSimRanking(exact)
    ranking.update(candidates, references, choices)
    for name, value in expected.compute().items():
        torch.testing.assert_close(ranking.compute()[name], value, equal_nan=True)
    scores = unisim_rank(candidates, references, exact)
    assert torch.equal(scores, unisim_rank([PHOTOS[:2], PHOTOS[2:]], PROMPTS[:2], exact))


def test_groups_of_captions_in_arrays(exact: Any) -> None:
    expected = unisim_rank([PROMPTS[:2], PROMPTS[2:]], PHOTOS[:2], exact)
    for groups in (np.array(PROMPTS).reshape(2, 2), pd.Series([PROMPTS[:2], PROMPTS[2:]])):
        assert torch.equal(unisim_rank(groups, PHOTOS[:2], exact), expected)
        metric = UniSimRanking(exact)
        metric.update(groups, PHOTOS[:2])
        assert "|task:caption|" in metric.signature


@pytest.mark.parametrize("images", [IMAGES, PHOTOS, DATASET["image"]], ids=["batch", "list", "column"])
def test_one_text_stands_for_all(exact: Any, images: Any) -> None:
    expected = unisim_score(images, PROMPTS[:1] * 4, exact, reduction="none")
    for score in faces(exact).values():
        torch.testing.assert_close(score(images, PROMPTS[0]), expected, rtol=0, atol=1e-6)


def test_one_text_stands_for_all_groups(exact: Any) -> None:
    groups = IMAGES.view(2, 2, *IMAGES.shape[1:])
    expected = unisim_rank(groups, PROMPTS[:1] * 2, exact)
    assert torch.equal(unisim_rank(groups, PROMPTS[0], exact), expected)
    assert torch.equal(exact.compare(PROMPTS[0], groups), expected)
    one, all_of_them = UniSimRanking(exact), UniSimRanking(exact)
    one.update(groups, PROMPTS[0])
    all_of_them.update(groups, PROMPTS[:1] * 2)
    assert torch.equal(one.compute()["mean_rank"], all_of_them.compute()["mean_rank"])


def test_a_generative_model_takes_one_text_for_all_groups() -> None:
    from tiny_generative import model as tiny_generative

    model, groups = tiny_generative(), [PHOTOS[:2], PHOTOS[2:]]
    expected = unisim_rank(groups, PROMPTS[:1] * 2, model)
    torch.testing.assert_close(unisim_rank(groups, PROMPTS[0], model), expected)
    ranking = UniSimRanking(model)
    ranking.update(groups, PROMPTS[0])
    assert ranking.answered + ranking.unanswered == 2


@pytest.mark.parametrize("target", [PROMPTS[:1], (PROMPTS[0],), np.array(PROMPTS[:1]), IMAGES[:1], IMAGES[0]])
def test_nothing_else_is_repeated(exact: Any, target: Any) -> None:
    for score in faces(exact).values():
        with pytest.raises(ValueError, match=r"must have the same length, but got 4 and 1"):
            score(IMAGES, target)


@pytest.mark.parametrize(
    "value",
    [{"a": PHOTOS[0]}, set(PROMPTS), TABLE, iter(PROMPTS), pd.Series([PROMPTS[0], None]), 3, b"text"],
    ids=["dict", "set", "table", "iterator", "missing", "number", "bytes"],
)
def test_what_is_no_column_is_refused(exact: Any, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="Argument"):
        UniSimScore(exact).update(PHOTOS, value)


def test_numbers_stay_an_image_and_lists_stay_themselves() -> None:
    array, batch, texts = np.zeros((4, 4, 3), np.uint8), [IMAGES[0], PHOTOS[0]], ("a", "b")
    assert as_lists(array) is array
    assert as_lists(batch) is batch
    assert as_lists(texts) is texts
    assert as_lists(IMAGES) is IMAGES
    choices = torch.tensor([0, 1])
    assert as_lists(choices) is choices
    assert as_lists(PHOTOS[0]) is PHOTOS[0]
    assert as_lists("text") == "text"


# Names


def test_the_task_quality_has_another_name(exact: Any) -> None:
    assert check_task("iqa") == "quality"
    metric = UniSimScore(exact, task="iqa")  # type: ignore[arg-type]
    metric.update(IMAGES)
    assert metric.signature == UniSimScore(exact, task="quality").signature
    scores = [unisim_score(IMAGES, None, exact, task=name) for name in ("iqa", "quality")]  # type: ignore[arg-type]
    assert torch.equal(*scores)
    # The metric sums in fixed point, the function in floating point.
    torch.testing.assert_close(metric.compute(), scores[0])


def test_what_is_printed_names_model_and_task(exact: Any) -> None:
    metric = UniSimScore(exact)
    assert repr(metric) == "UniSimScore(model='OneByOne', task=inferred)"
    metric.update(IMAGES)
    assert repr(metric) == "UniSimScore(model='OneByOne', task='quality')"
    assert repr(UniSimRanking(exact, "odd-one-out")) == "UniSimRanking(model='OneByOne', task='odd-one-out')"
    assert repr(UniSimLoss(exact, "caption")) == "UniSimLoss(model='OneByOne', task='caption')"
    assert "(score): UniSimScore(model='OneByOne'" in repr(MetricCollection({"score": UniSimScore(exact)}))


@pytest.mark.parametrize(
    ("task", "preds", "target", "passed"),
    [
        ("image-text", ["a"], ["b"], None),
        ("image-image", ["a"], None, "texts alone"),
        ("quality", ["a"], PHOTOS[:1], "texts and images"),
        ("caption", PHOTOS[:1], ["a.png"], "images and texts"),
        (None, ["a"], ["b"], "texts and texts"),
    ],
)
def test_messages_say_what_was_passed(task: Any, preds: Any, target: Any, passed: str | None) -> None:
    if passed is None:
        assert resolve_task(task, preds, target) == task
        return
    with pytest.raises(ValueError, match=f"but got {passed}"):
        resolve_task(task, preds, target)
