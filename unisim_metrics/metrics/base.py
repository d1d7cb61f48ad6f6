"""What both metrics share: their model, settings, signature, and how they live inside torchmetrics."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import torch
from lightning_utilities import apply_to_collection
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.prints import rank_zero_warn

from unisim_metrics.columns import as_lists
from unisim_metrics.metrics.backbone import Backbone
from unisim_metrics.metrics.states import NOTHING_SCORED, one_fingerprint, one_task
from unisim_metrics.metrics.wrappers import FeatureNetwork, Hidden, SharedEmbedder, check_resampled
from unisim_metrics.models import PerceptualModel
from unisim_metrics.models.answering import ANY_WAY, Way, check_answers, input_tag_of
from unisim_metrics.models.comparing import Embedder
from unisim_metrics.models.kept import ModelLike
from unisim_metrics.prompts import PromptsLike, check_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import TASKS, Method, Task, check_method, check_task, resolve_task

BUNDLED = "unisim-mini"
# Scores are summed as multiples of 2⁻³⁰ (finer than float32 near 1) in 64-bit integers: sums are exact, so
# that the mean does not depend on the order of batches or on how many processes share them.
FIXED_POINT = 2**30
# One sixteen-bit piece of the fingerprint each: small enough to differ under `torch.allclose`.
_FINGERPRINT_PIECES = 4


class _Unsqueezed:
    """A result on its way past torchmetrics' squeezing."""

    def __init__(self, result: Any) -> None:
        self.result = result


class UniSimMetric(Metric):
    """Base of the metrics: model, task, method and prompts; not to be used by itself."""

    is_differentiable: bool = False
    higher_is_better: bool = True
    full_state_update: bool = False
    feature_network: ClassVar[str] = "network"
    # How `update` names its inputs, for error texts.
    argument_names: ClassVar[tuple[str, str]] = ("preds", "target")
    # How its model may answer.
    ways: ClassVar[tuple[Way, ...]] = ANY_WAY

    task_index: Tensor
    fingerprint: Tensor

    def __init__(
        self,
        model_name_or_path: ModelLike,
        task: Task | None,
        method: Method,
        prompts: PromptsLike,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task = check_task(task)
        self.method = check_method(method)
        self.prompts = check_prompts(prompts)
        self._shared_network = Hidden()
        self._backbone = Backbone(model_name_or_path)
        if self.task is not None:
            check_answers(self.model, self.task, self.ways)
        if model_name_or_path == BUNDLED:
            _warn_bundled()
        # Which task was scored, and by which model: states, so that they reach every process and every
        # member of a compute group, and so that metrics of different models never share a group.
        self.add_state("task_index", default=torch.tensor(NOTHING_SCORED), dist_reduce_fx=one_task)
        self.add_state(
            "fingerprint",
            default=torch.zeros(_FINGERPRINT_PIECES, dtype=torch.long),
            dist_reduce_fx=one_fingerprint,
        )
        # What the processes together scored: one without data has no task of its own.
        self._synced_task_index = NOTHING_SCORED

    @property
    def model(self) -> PerceptualModel:
        """The model that scores."""
        return self._backbone.model

    @property
    def network(self) -> nn.Module:
        """What `FeatureShare` shares: the model as a module, or the cache put in its place."""
        return self._shared_network[0] if self._shared_network else FeatureNetwork(self.model)

    @property
    def signature(self) -> str:
        """What makes the scores: model and weights, task, prompts, preprocessing, version."""
        return signature(self.model, self._scored_task(), self.method, self.prompts, self.ways)

    def extra_repr(self) -> str:
        """The model and the task."""
        task = self._scored_task()
        return f"model={self._backbone.name!r}, task={'inferred' if task is None else repr(task)}"

    def __setattr__(self, name: str, value: Any) -> None:
        # A module set under this name would enter the module tree, and its weights every checkpoint.
        if name == "network":
            self._share(value)
        else:
            super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Update with a batch and return its value; bad input leaves the metric as it was."""
        # `forward` resets before it updates: the task of the batches before is known only here.
        inputs = self._inputs(*args, **kwargs)
        self._resolve(*(inputs.get(name) for name in self.argument_names))
        with self._all_or_nothing():
            return super().forward(**inputs)

    def _wrap_update(self, update: Callable[..., Any]) -> Callable[..., None]:
        wrapped = super()._wrap_update(update)

        @functools.wraps(update)
        def update_or_leave(*args: Any, **kwargs: Any) -> None:
            inputs = self._inputs(*args, **kwargs)
            check_resampled(inputs)
            with self._all_or_nothing():
                wrapped(**inputs)

        return update_or_leave

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # torchmetrics squeezes every tensor of one element: the score of one sample would lose its axis. What is
        # no collection of tensors it leaves alone.
        wrapped = super()._wrap_compute(lambda: _Unsqueezed(compute()))

        @functools.wraps(compute)
        def compute_unsqueezed() -> Any:
            value = wrapped()
            if isinstance(value, _Unsqueezed):  # not from the cache; a copy, as the result may be a state
                value = apply_to_collection(value.result, Tensor, Tensor.clone)
                self._computed = value if self.compute_with_cache else None
            return value

        return compute_unsqueezed

    def _inputs(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments of `update` by name, columns of tables as lists."""
        bound = self._update_signature.bind(*args, **kwargs).arguments
        return {name: as_lists(value) for name, value in bound.items()}

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Leave everything as it was if what is done inside raises."""
        # States are replaced, never written in place (lists are appended to), so that a shallow copy holds.
        flags = ["_enable_grad", "_to_sync", "_should_unsync", "_is_synced", "compute_on_cpu"]
        names = [*self._defaults, "_update_count", "_computed", "_cache", "_forward_cache", *flags]
        before = {name: getattr(self, name) for name in names}
        before = {name: list(value) if isinstance(value, list) else value for name, value in before.items()}
        try:
            yield
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Put the states of all processes together, as `torchmetrics.Metric.sync` does.

        Raises:
            ValueError: If processes scored different tasks, or by different models, methods or prompts; on every
                process, each of which keeps its own state.
        """
        with self._all_or_nothing():
            super().sync(*args, **kwargs)
        if self._is_synced:
            self._synced_task_index = int(self.task_index)

    def reset(self) -> None:
        """Forget all batches."""
        self._synced_task_index = NOTHING_SCORED
        # Lists are replaced rather than cleared: members of a compute group may hold the same one.
        for name, default in self._defaults.items():
            if isinstance(default, list):
                setattr(self, name, [])
        super().reset()

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the state of another metric, whose scores must have been made in the same way.

        Args:
            incoming_state: A metric of this class, or its `metric_state`.

        Raises:
            ValueError: If the other metric scored another task, or by another model, method or prompts.
        """
        if isinstance(incoming_state, UniSimMetric | dict):
            state: Any = incoming_state if isinstance(incoming_state, dict) else incoming_state.metric_state
            theirs, ours = state.get("fingerprint", self.fingerprint), self.fingerprint
            if bool(theirs.any()) and bool(ours.any()) and not torch.equal(theirs.to(ours.device), ours):
                raise ValueError(
                    "Argument `incoming_state` must hold scores of the same task, model, method and prompts as this"
                    f" metric ({self.signature}), but got those of others."
                )
        with self._all_or_nothing():
            super().merge_state(incoming_state)
        self._update_count += incoming_state._update_count if isinstance(incoming_state, Metric) else 1
        self._computed = None

    def _apply(self, fn: Callable[..., Any], exclude_state: Any = "") -> nn.Module:
        @functools.wraps(fn)  # torchmetrics tells conversions by the name of the function
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = cast(Tensor, fn(tensor))
            if moved.dtype == tensor.dtype:
                return moved
            if tensor.is_floating_point():  # scores are float32, or float64 where asked for
                return tensor.to(
                    moved.device, torch.float64 if moved.dtype == torch.float64 else torch.float32
                )
            return tensor.to(moved.device)

        before = self.device
        this = super()._apply(keep_precision, exclude_state)
        if self.device != before:
            self.model.to(self.device)
        return this

    def _share(self, network: nn.Module) -> None:
        """Take what `FeatureShare` puts in the model's place, if it is of the same model."""
        shared = getattr(network, "network", network)
        own = FeatureNetwork(self.model)
        if isinstance(shared, FeatureNetwork) and shared.identity != own.identity:
            raise ValueError(
                "Metrics in a `FeatureShare` must have the same model, weights and input,"
                f" but got {shared.identity} and {own.identity}."
            )
        self._shared_network = Hidden([network])

    def _scored_task(self) -> Task | None:
        """The task of the batches so far, here or in other processes; before the first what `task` says."""
        own = NOTHING_SCORED if self.task_index.is_meta else int(self.task_index)
        index = max(own, self._synced_task_index)
        return TASKS[index] if index >= 0 else self.task

    def _resolve(self, first: Any, second: Any) -> Task:
        """The task of a batch, which must be that of the batches before."""
        task = resolve_task(self.task, first, second, self.argument_names)
        index = int(self.task_index)
        if index >= 0 and TASKS[index] != task:
            raise ValueError(
                f"Argument `task` was inferred as {TASKS[index]!r} from earlier batches, but this batch is {task!r}."
                f" Use one metric a task, or `reset()`."
            )
        check_answers(self.model, task, self.ways)
        return task

    def _prepare(self, scores: Tensor, count: int) -> Tensor:
        """Scores of `count` samples as the states keep them; a model's overflow must not pass for a score."""
        if int(scores.isfinite().sum()) != count:
            raise ValueError(
                f"Model {self.model.name!r} gave scores that are not finite: load it with `dtype=torch.float32`."
            )
        return scores.detach().to(self.device, self.dtype)

    def _embedder(self) -> PerceptualModel | Embedder:
        return SharedEmbedder(self._shared_network[0], self.model) if self._shared_network else self.model

    def _mark(self, task: Task) -> None:
        """Write down task and model in the states."""
        inputs = input_tag_of(self.model, task, self.ways)
        text = f"{self.model.weights_hash()}{inputs}{task}{self.method}{self.prompts}"
        digest = hashlib.sha256(text.encode()).digest()
        pieces = [int.from_bytes(digest[2 * i : 2 * i + 2], "big") for i in range(_FINGERPRINT_PIECES)]
        self.fingerprint = torch.tensor(pieces, device=self.device)
        self.task_index = torch.tensor(TASKS.index(task), device=self.device)


@functools.cache
def _warn_bundled() -> None:
    rank_zero_warn(
        "The bundled model `unisim-mini` is small: right for trying, testing and watching a training run. For scores to"
        " publish choose a full-size model, for example `unisim-vit-l-14` (see `unisim_metrics.list_models()`).",
        UserWarning,
    )
