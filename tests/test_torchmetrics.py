"""The metrics among torchmetrics' own tools: collections, wrappers, checkpoints, precision, Lightning."""

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
METRICS = [
    pytest.param(lambda model: UniSimScore(model), (IMAGES, TEXTS), id="mean"),
    pytest.param(lambda model: UniSimScore(model, reduction="none"), (IMAGES, TEXTS), id="none"),
    pytest.param(lambda model: UniSimRanking(model), (GROUPS, TEXTS[:2], [0, 1]), id="ranking"),
]
each_metric = pytest.mark.parametrize(("build", "batch"), METRICS)


@pytest.fixture
def model() -> Any:
    """A model whose embeddings do not depend on the batch in a single bit, and that counts its passes."""
    return one_by_one()


def assert_same(first: Any, second: Any) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


@each_metric
def test_constants_of_the_class(model: Any, build: Any, batch: Any) -> None:
    metric = build(model)
    assert (metric.higher_is_better, metric.is_differentiable, metric.full_state_update) == (True, False, False)


# Copies and checkpoints


@each_metric
def test_reset_forgets_and_clone_is_independent_but_shares_the_model(model: Any, build: Any, batch: Any) -> None:
    metric = build(model)
    first = metric(*batch)
    twin = metric.clone()
    assert twin.model is metric.model
    metric.reset()
    assert metric.update_count == 0
    assert_same(twin.compute(), first)
    twin.update(*batch)
    assert_same(metric(*batch), first)
    assert_same(copy.deepcopy(metric).compute(), metric.compute())


@each_metric
def test_no_weight_reaches_the_state_dict_and_training_mode_stays_off(model: Any, build: Any, batch: Any) -> None:
    parent = nn.Module()
    parent.metric = build(model)
    parent.train()
    assert not model.training
    assert parent.state_dict() == {}
    assert list(parent.parameters()) == []
    parent.metric.persistent(True)
    parent.metric.update(*batch)
    assert all(tensor.numel() <= 32 * 32 for tensor in parent.state_dict().values() if isinstance(tensor, Tensor))


@each_metric
def test_states_made_persistent_can_be_resumed(model: Any, build: Any, batch: Any) -> None:
    metric, resumed = build(model), build(model)
    metric.persistent(True)
    metric.update(*batch)
    resumed.load_state_dict(metric.state_dict())
    resumed.update(*batch)
    metric.update(*batch)
    assert_same(resumed.compute(), metric.compute())
    assert resumed.signature == metric.signature


@each_metric
def test_a_pickle_names_the_model_and_reads_it_again(tiny_clip_dir: Path, build: Any, batch: Any) -> None:
    for source in (tiny_clip_dir, str(tiny_clip_dir)):
        metric = build(source)
        expected = metric(*batch)
        data = pickle.dumps(metric)
        assert len(data) < 60_000 < sum(file.stat().st_size for file in tiny_clip_dir.glob("*.safetensors"))
        again = pickle.loads(data)
        assert_same(again.compute(), expected)
        assert again.signature == metric.signature
        assert_same(again(*batch), expected)


def test_a_pickle_notices_that_its_model_has_changed(tiny_clip_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    directory = tmp_path / "model"
    directory.mkdir()
    for file in tiny_clip_dir.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    metric = UniSimScore(directory)
    metric.update(IMAGES, TEXTS)
    data = pickle.dumps(metric)
    weights = load_file(directory / "model.safetensors")
    weights["visual_projection.weight"] += 0.1
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    again = pickle.loads(data)
    assert_same(again.compute(), metric.compute())
    with pytest.raises(ValueError, match=r"has other weights than when the metric was pickled"):
        again.update(IMAGES, TEXTS)


@each_metric
def test_a_model_passed_as_an_object_travels_in_the_pickle(model: Any, build: Any, batch: Any) -> None:
    metric = build(model)
    expected = metric(*batch)
    again = pickle.loads(pickle.dumps(metric))
    assert_same(again.compute(), expected)
    assert_same(again(*batch), expected)
    assert again.signature == metric.signature


@each_metric
def test_states_of_equal_metrics_merge_and_of_others_do_not(model: Any, build: Any, batch: Any) -> None:
    whole, first, second, other = build(model), build(model), build(model), build(one_by_one(seed=1))
    for metric in (whole, whole, first, second, other):
        metric.update(*batch)
    assert_same(first.compute(), second.compute())
    first.merge_state(second)
    assert_same(first.compute(), whole.compute())
    assert first.update_count == 2
    empty = build(model)
    empty.merge_state(second)
    assert_same(empty.compute(), second.compute())
    with pytest.raises(ValueError, match=r"`incoming_state` must hold scores of the same task, model, method and prompts"):
        first.merge_state(other)
    assert_same(first.compute(), whole.compute())


# Precision and devices


@pytest.mark.parametrize("cast", ["half", "float", "double", "bfloat16"])
@each_metric
def test_casts_of_a_surrounding_module_leave_scores_as_they_are(model: Any, build: Any, batch: Any, cast: str) -> None:
    parent = nn.Module()
    parent.metric = build(model)
    expected = build(model)(*batch)
    parent.metric.update(*batch)
    getattr(parent, cast)()
    assert_same(parent.metric.compute(), expected)
    parent.metric.reset()
    assert_same(parent.metric(*batch), expected)
    assert {weight.dtype for weight in model.backbone.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("how", ["to", "set_dtype"])
@each_metric
def test_states_never_lose_precision(model: Any, build: Any, batch: Any, dtype: torch.dtype, how: str) -> None:
    expected, metric = build(model), build(model)
    metric.update(*batch)
    getattr(metric, how)(dtype)
    metric.update(*batch)
    for _ in range(2):
        expected.update(*batch)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    torch.testing.assert_close(metric.compute(), expected.compute(), atol=1e-7, rtol=0, equal_nan=True, check_dtype=False)
    result = metric.compute()
    values = result.values() if isinstance(result, dict) else [result]
    assert {value.dtype for value in values} == {wanted}
    assert metric.signature == expected.signature
    assert {weight.dtype for weight in model.backbone.parameters()} == {torch.float32}
    metric.reset()
    metric.set_dtype(torch.float16)
    assert_same(metric(*batch), build(model)(*batch))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_scores_alike(tiny_clip_dir: Path, dtype: torch.dtype) -> None:
    from unisim_metrics import load_model

    expected = unisim_score(IMAGES, TEXTS, tiny_clip_dir, reduction="none")
    metric = UniSimScore(load_model(tiny_clip_dir, dtype=dtype), reduction="none")
    metric.update(IMAGES, TEXTS)
    torch.testing.assert_close(metric.compute(), expected, atol=1e-6 if dtype == torch.float64 else 0.03, rtol=0)
    assert metric.compute().dtype == torch.float32


@each_metric
def test_moving_the_metric_moves_the_model(model: Any, build: Any, batch: Any) -> None:
    metric = build(model).to("meta")
    assert metric.device.type == "meta"
    assert metric.model.device.type == "meta"


def test_no_graph_is_kept(model: Any) -> None:
    images = (IMAGES / 255).requires_grad_()
    for metric in (UniSimScore(model), UniSimScore(model, reduction="none")):
        values = [metric(images, TEXTS), metric(images, TEXTS)]
        metric.update(images, TEXTS)
        states = [state for value in metric.metric_state.values() for state in (value if isinstance(value, list) else [value])]
        for tensor in [*values, *states, metric.compute()]:
            assert tensor.grad_fn is None and not tensor.requires_grad
    ranking = UniSimRanking(model)
    assert not any(value.requires_grad for value in ranking(images.view(GROUPS.shape), TEXTS[:2]).values())


def test_updates_under_inference_mode_mix_with_others(model: Any) -> None:
    metric, expected = UniSimScore(model), UniSimScore(model)
    for _ in range(3):
        expected.update(IMAGES, TEXTS)
    with torch.inference_mode():
        metric.update(IMAGES, TEXTS)
        metric(IMAGES, TEXTS)
    metric.update(IMAGES, TEXTS)
    assert_same(metric.compute(), expected.compute())


# Collections and wrappers


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
    steps = (collection.update, collection.update, collection, collection.update, collection, collection.update)
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
    with pytest.raises(ValueError, match=r"in a `FeatureShare` must have the same model, weights and input"), pytest.warns(
        UserWarning, match="not the same for all metrics"
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


@each_metric
def test_plot_draws_one_value_and_several(model: Any, build: Any, batch: Any) -> None:
    import matplotlib.pyplot as plt

    metric = build(model)
    metric.update(*batch)
    figure, axes = metric.plot()
    assert isinstance(figure, plt.Figure) and axes.has_data()
    plt.close(figure)
    figure, axes = metric.plot(metric.compute())
    assert axes.has_data()
    plt.close(figure)
    figure, own = plt.subplots()
    metric.plot([metric(*batch), metric(*batch)], ax=own)
    assert own.has_data()
    plt.close(figure)


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
        max_epochs=2, accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False
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
