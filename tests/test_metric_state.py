"""What every metric of torchmetrics does: copies, pickles, checkpoints, precision, devices, plots."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from oracle import TEXTS, one_by_one, pixels
from torch import Tensor, nn

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
    assert (metric.higher_is_better, metric.is_differentiable, metric.full_state_update) == (
        True,
        False,
        False,
    )


@each_metric
def test_reset_forgets_and_clone_is_independent_but_shares_the_model(
    model: Any, build: Any, batch: Any
) -> None:
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
def test_no_weight_reaches_the_state_dict_and_training_mode_stays_off(
    model: Any, build: Any, batch: Any
) -> None:
    parent = nn.Module()
    parent.metric = build(model)
    parent.train()
    assert not model.training
    assert parent.state_dict() == {}
    assert list(parent.parameters()) == []
    parent.metric.persistent(True)
    parent.metric.update(*batch)
    assert all(
        tensor.numel() <= 32 * 32 for tensor in parent.state_dict().values() if isinstance(tensor, Tensor)
    )


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
    with pytest.raises(
        ValueError, match=r"`incoming_state` must hold scores of the same task, model, method and prompts"
    ):
        first.merge_state(other)
    assert_same(first.compute(), whole.compute())


# Precision and devices


@pytest.mark.parametrize("cast", ["half", "float", "double", "bfloat16"])
@each_metric
def test_casts_of_a_surrounding_module_leave_scores_as_they_are(
    model: Any, build: Any, batch: Any, cast: str
) -> None:
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
def test_states_never_lose_precision(
    model: Any, build: Any, batch: Any, dtype: torch.dtype, how: str
) -> None:
    expected, metric = build(model), build(model)
    metric.update(*batch)
    getattr(metric, how)(dtype)
    metric.update(*batch)
    for _ in range(2):
        expected.update(*batch)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    torch.testing.assert_close(
        metric.compute(), expected.compute(), atol=1e-7, rtol=0, equal_nan=True, check_dtype=False
    )
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
    torch.testing.assert_close(
        metric.compute(), expected, atol=1e-6 if dtype == torch.float64 else 0.03, rtol=0
    )
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
        states = [
            state
            for value in metric.metric_state.values()
            for state in (value if isinstance(value, list) else [value])
        ]
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
