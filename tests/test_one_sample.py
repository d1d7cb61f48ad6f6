"""Axes of length one: a batch of one sample, one group, one position, keeps its axis everywhere."""

from __future__ import annotations

import copy
import pickle
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import TEXTS, photos, pixels
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import FeatureShare, Running

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_rank, unisim_score

IMAGES = pixels(3)
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_scores_have_one_entry_a_sample(exact: Any, count: int) -> None:
    metric = UniSimScore(exact, reduction="none", sync_on_compute=False)
    for start in range(count):
        assert metric(IMAGES[start : start + 1]).shape == (1,)
    if count == 0:
        with pytest.warns(UserWarning, match="before the ``update`` method"):
            assert metric.compute().shape == (0,)
        return
    expected = unisim_score(IMAGES[:count], None, exact, reduction="none")
    for copied in (metric, copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        for _ in range(2):  # computed, and from the cache
            assert copied.compute().shape == (count,)
            assert torch.equal(copied.compute(), expected)


@pytest.mark.parametrize(
    ("preds", "target", "task"),
    [
        (IMAGES[0], None, None),
        (IMAGES[:1], None, "sharpness"),
        ([IMAGES[0]], [TEXTS[0]], None),
        (photos(1)[0], TEXTS[0], None),
        (TEXTS[:1], IMAGES[:1], None),
        (IMAGES[:1], IMAGES[1:2], None),
    ],
)
def test_one_sample_of_every_kind(exact: Any, preds: Any, target: Any, task: Any) -> None:
    metric = UniSimScore(exact, task=task, reduction="none")
    expected = unisim_score(preds, target, exact, task=task, reduction="none")
    assert expected.shape == (1,)
    assert metric(preds, target).shape == (1,)
    assert torch.equal(metric.compute(), expected)
    assert UniSimLoss(exact, task=task, reduction="none")(preds, target).shape == (1,)
    assert UniSimScore(exact, task=task)(preds, target).shape == ()


def test_inside_collections_wrappers_and_arithmetic(exact: Any) -> None:
    def build() -> UniSimScore:
        return UniSimScore(exact, reduction="none")

    image = IMAGES[:1]
    for collection in (MetricCollection({"a": build(), "b": build()}), FeatureShare({"a": build()})):
        assert collection(image)["a"].shape == (1,)
        assert collection.compute()["a"].shape == (1,)
    doubled = 2 * build()
    assert doubled(image).shape == (1,)
    assert doubled.compute().shape == (1,)
    running = Running(build(), window=1)
    running.update(image)
    assert running.compute().shape == (1,)
    tracker = MetricTracker(build())
    tracker.increment()
    tracker.update(image)
    assert tracker.compute_all().shape == (1, 1)


def test_a_result_can_be_written_to(exact: Any) -> None:
    metric = UniSimScore(exact, reduction="none")
    metric.update(IMAGES[:1])
    expected = unisim_score(IMAGES[:1], None, exact, reduction="none")
    metric(IMAGES[:1]).zero_()
    assert torch.equal(metric.compute(), expected.repeat(2))
    uncached = UniSimScore(exact, reduction="none", compute_with_cache=False)
    uncached.update(IMAGES[:1])
    uncached.compute().zero_()
    assert torch.equal(uncached.compute(), expected)


def test_one_group(exact: Any) -> None:
    groups = IMAGES[:2].unsqueeze(0)
    assert unisim_rank(groups, TEXTS[:1], exact).shape == (1, 2)
    ranking = UniSimRanking(exact)
    shapes = {name: tuple(value.shape) for name, value in ranking(groups, TEXTS[:1], [0]).items()}
    assert shapes == {"win_rate": (2,), "mean_rank": (2,), "win_matrix": (2, 2), "accuracy": ()}
    loss = UniSimLoss(exact, task="odd-one-out", reduction="none")
    assert loss(IMAGES.unsqueeze(0), torch.tensor([0])).shape == (1, 2)


def test_the_accelerate_example_takes_a_last_batch_of_one_photo(tiny_clip_dir: Path, tmp_path: Path) -> None:
    for index, photo in enumerate(photos(9)):  # the example takes batches of eight
        photo.resize((70, 70)).save(tmp_path / f"{index}.png")
    history: list[float] = runpy.run_path(str(EXAMPLES / "accelerate_loop.py"))["train"](
        tmp_path, 1, str(tiny_clip_dir)
    )
    assert len(history) == 2
    assert torch.isfinite(Tensor(history)).all()
