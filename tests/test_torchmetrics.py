"""The metrics among torchmetrics' own tools: collections, wrappers, arithmetic, plots, Lightning."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from oracle import TEXTS, OneByOne, one_by_one, pixels
from torch import Tensor, nn
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper, FeatureShare

from unisim_metrics import UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_score

matplotlib.use("Agg")

IMAGES, OTHERS = pixels(6), pixels(6, seed=1)
GROUPS = IMAGES.view(2, 3, *IMAGES.shape[1:])


@pytest.fixture
def model() -> Any:
    """A model whose embeddings do not depend on the batch in a single bit, and that counts its passes."""
    return one_by_one()


def assert_same(first: Any, second: Any) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


def test_a_collection_merges_equal_metrics_and_no_others(model: Any) -> None:
    other = one_by_one(seed=1)
    members = {
        "quality": lambda: UniSimScore(model),
        "quality again": lambda: UniSimScore(model, task="quality"),
        "iqa": lambda: UniSimScore(model, method="clip-iqa"),
        "brightness": lambda: UniSimScore(model, task="brightness"),
        "other model": lambda: UniSimScore(other),
        "each": lambda: UniSimScore(model, reduction="none"),
        "each again": lambda: UniSimScore(model, reduction="none"),
    }
    collection = MetricCollection({name: build() for name, build in members.items()})
    alone = {name: build() for name, build in members.items()}
    steps = (
        collection.update,
        collection.update,
        collection,
        collection.update,
        collection,
        collection.update,
    )
    for step, batch in zip(steps, IMAGES.split(1), strict=True):
        step(batch)
        for metric in alone.values():
            metric.update(batch)
    groups = sorted(sorted(group) for group in collection.compute_groups.values())
    merged = [group for group in groups if len(group) > 1]
    assert merged == [["each", "each again"], ["quality", "quality again"]]
    for name, value in collection.compute().items():
        assert_same(value, alone[name].compute())
        assert collection[name].signature == alone[name].signature
    collection.reset()
    assert_same(collection(IMAGES)["quality again"], UniSimScore(model)(IMAGES))


def test_rankings_that_tie_on_the_first_batch_stay_apart(model: Any) -> None:
    other = one_by_one(seed=1)
    tie = IMAGES[:1].expand(2, -1, -1, -1).unsqueeze(0)
    collection = MetricCollection({"one": UniSimRanking(model), "two": UniSimRanking(other)})
    collection.update(tie, TEXTS[:1], choices=[0])
    assert len(collection.compute_groups) == 2
    batch = IMAGES.view(3, 2, *IMAGES.shape[1:]), TEXTS[:3]
    collection.update(*batch, choices=[0, 1, 0])
    result = collection.compute()
    for name, network in (("one", model), ("two", other)):
        alone = UniSimRanking(network)
        alone.update(tie, TEXTS[:1], [0])
        alone.update(*batch, [0, 1, 0])
        for key, value in alone.compute().items():
            assert_same(result[f"{name}_{key}"], value)


def test_feature_share_encodes_a_batch_once(model: Any) -> None:
    def build() -> dict[str, UniSimScore]:
        return {
            "image-text": UniSimScore(model, task="image-text"),
            "again": UniSimScore(model, task="image-text", reduction="none"),
        }

    shared, alone = FeatureShare(build()), build()
    assert list(shared.parameters()) == []
    for batch in (IMAGES, list(OTHERS), OTHERS[0]):
        texts = TEXTS[: 1 if batch is not IMAGES and isinstance(batch, Tensor) else 6]
        model.backbone.calls = 0
        shared.update(batch, texts)
        assert model.backbone.calls == 1
        for metric in alone.values():
            metric.update(batch, texts)
    assert_same(shared.compute(), {name: metric.compute() for name, metric in alone.items()})


def test_feature_share_serves_rankings_of_several_attributes(model: Any) -> None:
    tasks = ("brightness", "contrast", "sharpness")
    shared = FeatureShare({task: UniSimRanking(model, task=task) for task in tasks})
    for groups in (GROUPS, [list(group) for group in GROUPS]):
        model.backbone.calls = 0
        shared.update(groups)
        assert model.backbone.calls == 1
    for task in tasks:
        alone = UniSimRanking(model, task=task)
        alone.update(GROUPS)
        assert_same(shared[task].compute(), alone.compute())


def test_feature_share_sees_that_a_buffer_was_filled_anew(model: Any) -> None:
    shared = FeatureShare({"a": UniSimScore(model), "b": UniSimScore(model, reduction="none")})
    buffer = IMAGES.clone()
    shared.update(buffer)
    buffer.copy_(OTHERS)
    shared.update(buffer)
    expected = unisim_score(torch.cat([IMAGES, OTHERS]), None, model, reduction="none")
    assert_same(shared.compute()["b"], expected)


def test_feature_share_refuses_two_models_and_leaves_the_models_alone(model: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"in a `FeatureShare` must have the same model, weights and input"),
        pytest.warns(UserWarning, match="not the same for all metrics"),
    ):
        FeatureShare({"a": UniSimScore(model), "b": UniSimScore(one_by_one(seed=1))})
    shared = FeatureShare({"a": UniSimScore(model), "b": UniSimScore(model, reduction="none")})
    shared.update(IMAGES)
    again = pickle.loads(pickle.dumps(shared))
    assert_same(again.compute(), shared.compute())
    again.update(IMAGES)
    assert_same(copy.deepcopy(shared).compute(), shared.compute())


def test_bootstrapper_resamples_images(model: Any) -> None:
    torch.manual_seed(0)
    wrapper = BootStrapper(UniSimScore(model), num_bootstraps=20, raw=True)
    wrapper.update(IMAGES, OTHERS)
    result = wrapper.compute()
    scores = unisim_score(IMAGES, OTHERS, model, reduction="none")
    assert scores.min() <= result["raw"].min() < result["raw"].max() <= scores.max()
    assert result["mean"] == pytest.approx(scores.mean().item(), abs=4 * scores.std().item() / 6**0.5)


def test_tracker_keeps_the_best_step(model: Any) -> None:
    tracker = MetricTracker(UniSimScore(model))
    for targets in (OTHERS, IMAGES, OTHERS):
        tracker.increment()
        tracker.update(IMAGES, targets)
    best, step = tracker.best_metric(return_step=True)
    assert (best, step) == (pytest.approx(1), 1)
    assert tracker.compute_all().shape == (3,)


def test_arithmetic_on_metrics(model: Any) -> None:
    first, second = UniSimScore(model), UniSimScore(model, task="image-text")
    scaled, difference = first * 2.5, first - second
    expected = UniSimScore(model)(IMAGES, TEXTS)
    assert_same(scaled(IMAGES, TEXTS), 2.5 * expected)
    assert_same(scaled.compute(), 2.5 * expected)
    second.update(IMAGES, TEXTS)
    assert difference.compute() == 0


def test_lightning_logs_the_metric_over_an_epoch(model: Any, tmp_path: Path) -> None:
    import lightning as L

    class Generator(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.zeros(1))
            self.train_score, self.val_score = UniSimScore(model), UniSimScore(model)

        def training_step(self, batch: Any, index: int) -> Tensor:
            self.train_score(batch[0], batch[1])
            self.log("train", self.train_score, on_step=False, on_epoch=True)
            return (self.weights**2).sum()

        def validation_step(self, batch: Any, index: int) -> None:
            self.val_score.update(batch[0], batch[1])
            self.log("val", self.val_score)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGES, OTHERS), batch_size=4)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Generator(), loader, loader)
    expected = UniSimScore(model)(IMAGES, OTHERS).item()
    assert trainer.logged_metrics["train"].item() == pytest.approx(expected)
    assert trainer.logged_metrics["val"].item() == pytest.approx(expected)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert os.path.getsize(checkpoint) < 30_000
    assert set(torch.load(checkpoint, weights_only=True)["state_dict"]) == {"weights"}


def test_the_users_own_module_keeps_its_mode_and_gradients() -> None:
    module = OneByOne()
    from unisim_metrics import load_model
    from unisim_metrics.images import Preprocessing

    module.train()
    metric = UniSimScore(load_model(module, tokenizer=len, preprocessing=Preprocessing(size=8)))
    metric.update(IMAGES, OTHERS)
    assert module.training and module.image_weights.requires_grad and module.image_weights.grad is None
