"""Early pruning: several candidates in one call of a pipeline, of which the hopeless are dropped on the way.

The candidates stand in one batch, but pass the denoiser and the autoencoder a few at a time: what a candidate
becomes does not depend on how many are left beside it, and memory stays that of a small batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
)
from torch import Tensor
from typing_extensions import Self

from .components import denoiser
from .families import Size
from .latents import LatentDecoder
from .previews import StepRecorder
from .sampling import replaced, seeded

PIPELINES = (
    StableDiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusion3Pipeline,
)
"""The pipelines that hand all they keep of a batch to a callback, and take it back smaller."""

SCHEDULERS = (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    FlowMatchEulerDiscreteScheduler,
)
"""The schedulers that remember nothing of a batch from one step to the next."""

# What pipelines keep to themselves if they get it, at the size of the whole batch.
_KEPT = ("ip_adapter_image", "ip_adapter_image_embeds", "skip_guidance_layers")


class Pruned(NamedTuple):
    """A candidate that was dropped.

    Attributes:
        seed: Its seed.
        step: The step after which it was dropped.
        score: The score of its preview there.
    """

    seed: int
    step: int
    score: float


def check_pruning(
    pipe: DiffusionPipeline, prune: Mapping[int, int], candidates: int, arguments: Mapping[str, Any]
) -> None:
    """Check that candidates can be dropped while a pipeline samples.

    Args:
        pipe: The pipeline.
        prune: How many candidates to keep after which step.
        candidates: How many there are at first.
        arguments: What the pipeline will be called with.

    Raises:
        ValueError: If they cannot, with the way out.
    """
    steps, kept = list(prune), [candidates, *prune.values()]
    falling = all(after >= 1 and before > after for before, after in pairwise(kept))
    if not steps or min(steps) < 0 or steps != sorted(steps) or not falling:
        raise ValueError(
            "Argument `prune` must map rising steps to falling numbers of candidates to keep,"
            f" from fewer than {candidates} to 1 or more, but got {dict(prune)}."
        )
    if not isinstance(pipe, PIPELINES):
        raise ValueError(
            f"Argument `prune` must be None for {type(pipe).__name__}, whose batch a callback cannot make smaller;"
            f" it is for {', '.join(kind.__name__ for kind in PIPELINES)}."
        )
    if not isinstance(pipe.scheduler, SCHEDULERS):
        raise ValueError(
            f"Argument `prune` must be None for {type(pipe.scheduler).__name__}, which remembers the batch from step"
            " to step. Exchange it, `pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)`, for one of"
            f" {', '.join(kind.__name__ for kind in SCHEDULERS)}."
        )
    kept_back = [name for name in _KEPT if arguments.get(name) is not None]
    if kept_back:
        raise ValueError(
            f"Argument `prune` must be None with `{kept_back[0]}`, which the pipeline keeps for the whole batch."
        )
    if getattr(denoiser(pipe), "config", {}).get("time_cond_proj_dim") is not None:
        raise ValueError(
            f"Argument `prune` must be None for {type(pipe).__name__} with a guidance-distilled denoiser, for which"
            " the pipeline keeps the guidance of the whole batch."
        )


class Pruner:
    """Drops candidates from the batch of a running pipeline. To be entered, and passed as its callback.

    Args:
        pipe: The pipeline.
        prune: How many candidates to keep after which step.
        seeds: Those of the candidates.
        score: Scores pictures `[M, 3, H, W]` with values in [0, 1]: `[M]`, higher is better.
        size: How many candidates pass the denoiser at a time.

    Attributes:
        generators: Of the candidates that are left, to be passed to the pipeline.
        seeds: Of the candidates that are left.
        dropped: The others.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        prune: Mapping[int, int],
        seeds: Sequence[int],
        score: Callable[[Tensor], Tensor],
        size: int,
    ) -> None:
        self.pipe = pipe
        self.seeds = list(seeds)
        self.dropped: list[Pruned] = []
        # The pipeline holds this very list, and hands it to the scheduler at every step.
        self.generators = [seeded(seed) for seed in seeds]
        self._prune = dict(prune)
        self._score = score
        self._size = size
        self._decoder = LatentDecoder(pipe)
        self._recorder = StepRecorder(pipe, before_step=self._check_steps)
        self._undo = ExitStack()

    @property
    def tensor_inputs(self) -> list[str]:
        """All that the pipeline can pass to its callback."""
        return list(self.pipe._callback_tensor_inputs)

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._recorder)
            undo.enter_context(replaced(denoiser(self.pipe), "forward", self._in_parts))
            undo.enter_context(replaced(self.pipe.vae, "decode", self._in_parts))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def __call__(
        self, pipe: DiffusionPipeline, index: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """Drop candidates if this is the step to do so; what the pipeline calls after each step."""
        if index not in self._prune or self._recorder.last is None:
            return tensors
        scores = self._score(self._decoder.preview(self._recorder.last, self._recorder.last.x0()).clamp(0, 1))
        order = scores.argsort(descending=True, stable=True).tolist()
        left, lost = sorted(order[: self._prune[index]]), order[self._prune[index] :]
        self.dropped += [Pruned(self.seeds[place], index, float(scores[place])) for place in lost]
        count = len(self.seeds)
        tensors = {name: _rows_of(value, left, count) for name, value in tensors.items()}
        self.seeds = [self.seeds[place] for place in left]
        self.generators[:] = [self.generators[place] for place in left]
        return tensors

    def _check_steps(self, latents: Tensor, size: Size | None) -> None:
        last, count = max(self._prune), int(self.pipe.num_timesteps)
        if last >= count - 1:
            raise ValueError(
                f"Argument `prune` must name steps before the last one, {count - 1}, but got {last}:"
                " steps count from 0."
            )

    def _in_parts(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of a batch of all candidates that works on a few of them at a time."""

        def parted(*args: Any, **kwargs: Any) -> tuple[Tensor]:
            count = len(self.seeds)
            rows = len(args[0] if args else kwargs["hidden_states"])
            everyone = list(range(count))
            parts = [everyone[start : start + self._size] for start in range(0, count, self._size)]
            outputs = [
                method(*_taken(args, part, count, rows), **_taken(kwargs, part, count, rows))[0]
                for part in parts
            ]
            order = torch.tensor([row for part in parts for row in _rows(part, count, rows)])
            return (torch.cat(outputs)[order.argsort().to(outputs[0].device)],)

        return parted


def _rows(places: Sequence[int], count: int, rows: int) -> list[int]:
    """Rows of some of `count` candidates in a batch that holds all of them once, or again for guidance."""
    return [start + place for start in range(0, rows, count) for place in places]


def _rows_of(value: Any, places: Sequence[int], count: int) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value[torch.tensor(_rows(places, count, len(value)), device=value.device)]


def _taken(value: Any, places: Sequence[int], count: int, rows: int) -> Any:
    """The part of some candidates in arguments, wherever they hold a tensor with a row for each of the batch."""
    if isinstance(value, Tensor):
        return _rows_of(value, places, count) if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _taken(item, places, count, rows) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_taken(item, places, count, rows) for item in value)
    return value
