"""What torchmetrics' own tests ask of a metric, asked of ours: the table of `docs/compatibility.md`, row by row."""

from __future__ import annotations

import copy
import operator
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from oracle import TEXTS, one_by_one
from torch import Tensor
from torchmetrics import MetricCollection, MetricTracker, SumMetric
from torchmetrics.text import ROUGEScore
from torchmetrics.wrappers import (
    BootStrapper,
    ClasswiseWrapper,
    FeatureShare,
    LambdaInputTransformer,
    MinMaxMetric,
    MultioutputWrapper,
    MultitaskWrapper,
    Running,
)

from unisim_metrics import UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_score

matplotlib.use("Agg")

PAGE = Path(__file__).parent.parent / "docs" / "compatibility.md"
FLOATS = torch.rand(4, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.rand(4, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
GROUPS = FLOATS[:, :2].unsqueeze(1)  # four batches of one group of two
Check = Callable[[Any], None]
ROWS: dict[tuple[str, str], Check] = {}


def row(tried: str, happens: str) -> Callable[[Check], Check]:
    """Say what a check shows, in the words of the page."""

    def note(check: Check) -> Check:
        ROWS[tried, happens] = check
        return check

    return note


def assert_same(first: Any, second: Any) -> None:
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6, equal_nan=True)


def kinds(model: Any) -> list[tuple[Callable[..., Any], list[tuple[Any, ...]]]]:
    """Ways to build each metric, with four batches for it."""
    pairs = list(zip(FLOATS, TARGETS, strict=True))
    return [
        (lambda **options: UniSimScore(model, **options), pairs),
        (lambda **options: UniSimScore(model, reduction="none", **options), [(batch,) for batch in FLOATS]),
        (lambda **options: UniSimRanking(model, **options), [(group, TEXTS[:1], [0]) for group in GROUPS]),
    ]


def filled(build: Callable[..., Any], batches: list[tuple[Any, ...]]) -> Any:
    metric = build()
    for batch in batches:
        metric.update(*batch)
    return metric


@row(
    "`forward`, `update`, `compute`, `reset`, `clone`, `pickle`, `hash`, constants, as `MetricTester` asks",
    "every batch scores as alone, all together as at once; constants cannot be set",
)
def check_class(model: Any) -> None:
    for build, batches in kinds(model):
        metric = pickle.loads(pickle.dumps(build()))
        for batch in batches:
            assert_same(metric(*batch), filled(build, [batch]).compute())
        assert_same(metric.compute(), filled(build, batches).compute())
        assert hash(metric) != hash(metric.clone())
        assert metric.state_dict() == {}
        for name in ("is_differentiable", "higher_is_better", "full_state_update", "plot_lower_bound"):
            with pytest.raises(RuntimeError, match="Can't change const"):
                setattr(metric, name, True)
        metric.reset()
        assert metric.update_count == 0
        assert metric._forward_cache is None


@row(
    "several processes, `dist_sync_on_step`, a `dist_sync_fn` of one's own",
    "the scores of all; unsynced afterwards; processes that scored different things are an error on each",
)
def check_sync(model: Any) -> None:
    def twice(value: Tensor, group: Any = None) -> list[Tensor]:
        return [value, value]

    for build, batches in kinds(model):
        metric = filled(
            lambda build=build: build(dist_sync_fn=twice, distributed_available_fn=lambda: True), batches
        )
        assert_same(metric.compute(), filled(build, [*batches, *batches]).compute())
        metric.sync(dist_sync_fn=twice, distributed_available=lambda: True)
        with pytest.raises(Exception, match="shouldn't be synced"):
            metric(*batches[0])
        metric.unsync()
        metric._computed, metric._to_sync = None, False
        assert_same(metric.compute(), filled(build, batches).compute())

    def other_task(value: Tensor, group: Any = None) -> list[Tensor]:
        return [value, value * 0 if value.ndim == 0 else value]

    metric = filled(
        lambda: UniSimScore(model, dist_sync_fn=other_task, distributed_available_fn=lambda: True),
        [(FLOATS[0],)],
    )
    with pytest.raises(ValueError, match="processes or metrics scored 'image-image' and 'quality'"):
        metric.compute()


@row(
    "float16, bfloat16 and float64 images",
    "scored as float32; scores are float32, after `set_dtype(torch.float64)` float64",
)
def check_precision(model: Any) -> None:
    expected = UniSimScore(model)(FLOATS[0], TARGETS[0])
    for dtype in (torch.half, torch.bfloat16, torch.double):
        score = UniSimScore(model)(FLOATS[0].to(dtype), TARGETS[0].to(dtype))
        assert score.dtype == torch.float32
        assert score == pytest.approx(expected.item(), abs=0.02)
    assert UniSimScore(model).set_dtype(torch.float64)(FLOATS[0], TARGETS[0]).dtype == torch.float64
    metric = UniSimScore(model)
    for same in (metric.half(), metric.double(), metric.float(), metric.type(torch.half)):
        assert same.dtype == torch.float32


@row(
    "images that require a gradient",
    "the metrics keep no graph (`is_differentiable` is false); `UniSimLoss` and `unisim_score` do",
)
def check_gradient(model: Any) -> None:
    images = FLOATS[0].clone().requires_grad_()
    assert not UniSimScore(model)(images, TARGETS[0]).requires_grad
    assert not UniSimScore.is_differentiable
    assert unisim_score(images, TARGETS[0], model).requires_grad


@row("`merge_state` with a metric or its `metric_state`", "as if one metric had seen all")
def check_merge(model: Any) -> None:
    for build, batches in kinds(model):
        for take in (lambda metric: metric, lambda metric: metric.metric_state):
            first, second = filled(build, batches[:1]), filled(build, batches[1:])
            second.merge_state(take(first))
            assert_same(second.compute(), filled(build, batches).compute())


@row(
    "`merge_state` with anything else, another class, missing states, other scores",
    "a `ValueError`, and nothing is changed",
)
def check_wrong_merge(model: Any) -> None:
    metric = filled(lambda: UniSimScore(model), [(FLOATS[0],)])
    expected = metric.compute()
    wrong: list[tuple[Any, str]] = [
        (2, "Expected incoming state to be a dict or an instance of Metric"),
        (None, "Expected incoming state to be a dict or an instance of Metric"),
        (SumMetric(), "Expected incoming state to be an instance of UniSimScore"),
        (UniSimRanking(model), "Expected incoming state to be an instance of UniSimScore"),
        ({"total": torch.tensor(2)}, "to be present in incoming state"),
        (
            filled(lambda: UniSimScore(one_by_one(seed=1)), [(FLOATS[0],)]),
            "same task, model, method and prompts",
        ),
        (
            filled(lambda: UniSimScore(model), [(FLOATS[0], TEXTS[:3])]),
            "same task, model, method and prompts",
        ),
    ]
    for state, message in wrong:
        with pytest.raises(ValueError, match=message):
            metric.merge_state(state)
        metric._computed = None
        assert_same(metric.compute(), expected)
        assert metric.update_count == 1


@row("`persistent(True)`, `state_dict`, `load_state_dict`", "the states, without any weight of the model")
def check_saving(model: Any) -> None:
    for build, batches in kinds(model):
        metric = filled(build, batches)
        metric.persistent(True)
        again = build()
        again.load_state_dict(metric.state_dict())
        again._update_count = 1
        assert_same(again.compute(), metric.compute())


@row(
    'made under `torch.device("meta")` or another default device',
    "the states are there; a model by name is on the CPU",
)
def check_meta(model: Any) -> None:
    with torch.device("meta"):
        metric = UniSimScore(model)
    assert metric.device == metric.total.device == torch.device("meta")
    assert model.device == torch.device("cpu")
    assert repr(metric).startswith("UniSimScore(")


@row(
    "`torch.jit.script(metric)`",
    "does not apply: an error of torch's, as images and texts are Python objects",
)
def check_script(model: Any) -> None:
    with pytest.raises((ValueError, RuntimeError, TypeError)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch say that scripting goes away
        torch.jit.script(UniSimScore(model))


@row("`compute_on_cpu`, `compute_with_cache=False`, `sync_on_compute=False`", "as torchmetrics says")
def check_options(model: Any) -> None:
    for option in ({"compute_on_cpu": True}, {"compute_with_cache": False}, {"sync_on_compute": False}):
        for build, batches in kinds(model):
            metric = filled(lambda build=build, option=option: build(**option), batches)
            assert_same(metric.compute(), filled(build, batches).compute())
            assert (metric._computed is None) == ("compute_with_cache" in option)


@row('one score of `reduction="none"`', "shape `[1]`, though torchmetrics squeezes results of one element")
def check_axis(model: Any) -> None:
    metric = UniSimScore(model, reduction="none")
    assert metric(FLOATS[0, :1]).shape == metric.compute().shape == (1,)


BINARY = ["add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "eq", "ne", "lt", "le", "gt", "ge"]


@row(
    "`+ - * / // ** % == != < <= > >=` with a number, a tensor or a metric, `abs`, `-`, `+`, `[i]`, `@`",
    "of the results",
)
def check_arithmetic(model: Any) -> None:
    score, batch = UniSimScore(model)(FLOATS[0], TARGETS[0]), (FLOATS[0], TARGETS[0])
    for name in BINARY:
        apply = getattr(operator, name)
        torch_apply = torch.fmod if name == "mod" else apply
        for other in (2, 2.0, torch.tensor(2.0), UniSimScore(model)):
            value = score if isinstance(other, UniSimScore) else other
            composed = apply(UniSimScore(model), other)
            assert_same(composed(*batch), torch_apply(score, value))
            assert_same(composed.compute(), torch_apply(score, value))
        assert_same(
            apply(torch.tensor(2.0), UniSimScore(model))(*batch), torch_apply(torch.tensor(2.0), score)
        )
    for name in set(BINARY) - {"mod"}:
        assert_same(getattr(operator, name)(2, UniSimScore(model))(*batch), getattr(operator, name)(2, score))
    each = unisim_score(*batch, model, reduction="none")
    assert_same(abs(UniSimScore(model))(*batch), score.abs())
    assert_same((-UniSimScore(model))(*batch), -score.abs())  # torchmetrics' own meaning of `-`
    assert_same((+UniSimScore(model))(*batch), score.abs())
    assert_same(UniSimScore(model, reduction="none")[1](*batch), each[1])
    one, other = UniSimScore(model, reduction="none"), UniSimScore(model, reduction="none")
    assert_same((one @ other)(*batch), each @ each)


@row(
    "`2 % metric`",
    "a `TypeError` for every metric, `torch.fmod` takes no number first; `torch.tensor(2) % metric` works",
)
def check_modulo(model: Any) -> None:
    for metric, batch in ((UniSimScore(model), (FLOATS[0],)), (SumMetric(), (1.0,))):
        with pytest.raises(TypeError, match="fmod"):
            (2 % metric)(*batch)
        assert (torch.tensor(2) % metric)(*batch).isfinite()


@row("`~` and the bitwise operators", "does not apply: an error of torch's, as scores are no integers")
def check_bits(model: Any) -> None:
    metrics = [UniSimScore(model) & 1, UniSimScore(model) | 1, UniSimScore(model) ^ 1, ~UniSimScore(model)]
    for metric in metrics:
        with pytest.raises((NotImplementedError, RuntimeError, TypeError)):
            metric(FLOATS[0])


@row(
    "`MetricCollection`, nested, with prefix and postfix, cloned, with arguments by name",
    "each metric as alone; equal ones are computed once",
)
def check_collection(model: Any) -> None:
    inner = MetricCollection({"score": UniSimScore(model), "again": UniSimScore(model)}, prefix="in_")
    outer = MetricCollection(
        [inner, MetricCollection({"each": UniSimScore(model, reduction="none")})], postfix="_out"
    )
    for collection in (outer, outer.clone(prefix="pre_"), copy.deepcopy(outer)):
        collection.reset()
        collection.update(preds=FLOATS[0], target=TARGETS[0])
        result = collection(FLOATS[0], target=TARGETS[0])
        assert {name.removeprefix("pre_") for name in result} == {"in_score_out", "in_again_out", "each_out"}
        each = unisim_score(FLOATS[0], TARGETS[0], model, reduction="none")
        for name, value in collection.compute().items():
            assert_same(value, torch.cat([each, each]) if "each" in name else each.mean())
    assert "UniSimScore(model='OneByOne'" in repr(outer)


@row("`plot` of one value and several, with axes, in a collection, in a `MetricTracker`", "a figure")
def check_plots(model: Any) -> None:
    collection = MetricCollection(
        {"score": UniSimScore(model), "each": UniSimScore(model, method="clip-iqa")}
    )
    values = [collection(batch) for batch in FLOATS]
    for drawn in (
        *collection.plot(),
        *collection.plot(values),
        collection.plot(together=True),
        collection.plot(values, together=True),
    ):
        assert drawn[1].has_data()
    _, axes = plt.subplots(nrows=2)
    collection.plot(ax=axes.tolist())
    assert all(part.has_data() for part in axes)
    tracker = MetricTracker(UniSimScore(model))
    for batch in FLOATS:
        tracker.increment()
        tracker.update(batch)
    assert tracker.plot()[1].has_data()
    plt.close("all")


@row(
    "`MetricCollection.plot` with a `UniSimRanking`",
    "a `KeyError` for every metric that gives a dictionary; `together=True` and the metric's own `plot` work",
)
def check_plot_of_dictionaries(model: Any) -> None:
    for metric, batch in (
        (UniSimRanking(model), (GROUPS[0],)),
        (ROUGEScore(rouge_keys="rouge1"), ("a", "a")),
    ):
        collection = MetricCollection({"name": metric})
        collection.update(*batch)
        with pytest.raises(KeyError, match="name"):
            collection.plot()
        assert collection.plot(together=True)[1].has_data()
    ranking = UniSimRanking(model)
    ranking.update(GROUPS[0])
    assert ranking.plot()[1].has_data()
    plt.close("all")


@row("`BootStrapper` with tensors", "resampled in pairs")
def check_bootstrap(model: Any) -> None:
    wrapper = BootStrapper(UniSimScore(model), num_bootstraps=5, raw=True)
    for images, targets in zip(FLOATS, TARGETS, strict=True):
        wrapper.update(images, targets)
    each = unisim_score(FLOATS.flatten(0, 1), TARGETS.flatten(0, 1), model, reduction="none")
    assert bool(((wrapper.compute()["raw"] >= each.min()) & (wrapper.compute()["raw"] <= each.max())).all())


@row(
    "`BootStrapper` with lists, prompts among them",
    'a `ValueError`: it resamples tensors alone; resample the scores of `reduction="none"` instead',
)
def check_bootstrap_of_lists(model: Any) -> None:
    with pytest.raises(ValueError, match="must be a tensor inside a `BootStrapper`"):
        BootStrapper(UniSimScore(model), sampling_strategy="multinomial").update(FLOATS[0], TEXTS[:3])


@row(
    "`MinMaxMetric`, `Running`, `MetricTracker`, `MultitaskWrapper`, `LambdaInputTransformer`",
    "as with any metric",
)
def check_wrappers(model: Any) -> None:
    means = [unisim_score(images, targets, model) for images, targets in zip(FLOATS, TARGETS, strict=True)]
    extremes, running = MinMaxMetric(UniSimScore(model)), Running(UniSimScore(model), window=2)
    tracker = MetricTracker(UniSimScore(model))
    for images, targets in zip(FLOATS, TARGETS, strict=True):
        extremes(images, targets)
        running.update(images, targets)
        tracker.increment()
        tracker.update(images, targets)
    assert_same(extremes.compute()["max"] >= max(means), torch.tensor(True))
    assert_same(running.compute(), (means[2] + means[3]) / 2)
    assert tracker.best_metric() == pytest.approx(float(max(means)), abs=1e-6)
    tasks = MultitaskWrapper({"text": UniSimScore(model), "image": UniSimScore(model)})
    result = tasks({"text": FLOATS[0], "image": FLOATS[0]}, {"text": TEXTS[:3], "image": TARGETS[0]})
    assert_same(result["image"], means[0])
    flipped = LambdaInputTransformer(UniSimScore(model), transform_pred=lambda images: images.flip(-1))
    assert_same(flipped(FLOATS[0], TARGETS[0]), unisim_score(FLOATS[0].flip(-1), TARGETS[0], model))


@row(
    "`MinMaxMetric` of single scores or of a ranking",
    "does not apply: a `RuntimeError` of torchmetrics', which asks for one number",
)
def check_minmax(model: Any) -> None:
    for metric, batch in (
        (UniSimScore(model, reduction="none"), (FLOATS[0],)),
        (UniSimRanking(model), (GROUPS[0],)),
    ):
        with pytest.raises(RuntimeError, match="should be a float or scalar tensor"):
            MinMaxMetric(metric)(*batch)


@row('`ClasswiseWrapper` of `reduction="none"`', "one entry a sample, of one sample as well")
def check_classwise(model: Any) -> None:
    for count in (1, 3):
        wrapped = ClasswiseWrapper(UniSimScore(model, reduction="none"))(FLOATS[0, :count])
        assert len(wrapped) == count


@row(
    "`MultioutputWrapper` of images stacked along a last axis", "one score an output, for a single output too"
)
def check_outputs(model: Any) -> None:
    images, targets = (torch.stack([batch[0], batch[1]], dim=-1) for batch in (FLOATS, TARGETS))
    expected = torch.stack([unisim_score(FLOATS[index], TARGETS[index], model) for index in range(2)])
    for size in (1, 2):
        wrapper = MultioutputWrapper(UniSimScore(model), size)
        assert_same(wrapper(images[..., :size], targets[..., :size]), expected[:size])
        assert_same(wrapper.compute(), expected[:size])


@row(
    "`MultioutputWrapper` with numbers, `None`, `squeeze_outputs=False`",
    "does not apply: an error of torchmetrics', or a `ValueError` that names the shape",
)
def check_other_outputs(model: Any) -> None:
    images = torch.stack([FLOATS[0], FLOATS[1]], dim=-1)
    for batch in ((torch.tensor(1.0),), (images, None), (images, TEXTS[:3])):
        with pytest.raises((IndexError, AttributeError, TypeError)):
            MultioutputWrapper(UniSimScore(model), 2)(*batch)
    with pytest.raises(ValueError, match="must have shape"):
        MultioutputWrapper(UniSimScore(model), 2, squeeze_outputs=False)(images)


@row("`FeatureShare`", "each image is encoded once an update; what changed in between is scored anew")
def check_sharing(model: Any) -> None:
    shared = FeatureShare({"a": UniSimScore(model), "b": UniSimScore(model, reduction="none")})
    images = FLOATS[0].clone()
    model.backbone.calls = 0
    shared.update(images)
    images.numpy()[...] = FLOATS[1].numpy()
    shared.update(images)
    assert model.backbone.calls == 2
    assert_same(
        shared.compute()["b"], unisim_score(torch.cat([FLOATS[0], FLOATS[1]]), None, model, reduction="none")
    )


@pytest.mark.parametrize("check", ROWS.values(), ids=lambda check: check.__name__.removeprefix("check_"))
def test_row(check: Check) -> None:
    check(one_by_one())


def test_the_page_has_these_rows() -> None:
    section = PAGE.read_text(encoding="utf-8").split("\n## torchmetrics\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table[:2] == ["| tried | what happens |", "|---|---|"]
    assert table[2:] == [f"| {tried} | {happens} |" for tried, happens in ROWS]
