"""Early pruning: several candidates in one call of a pipeline, of which the hopeless are dropped on the way.

The candidates stand in one batch, but pass the networks a few at a time: what a candidate becomes does not depend on
how many are left beside it, and memory stays that of a small batch. The batch of the pipeline itself keeps its size,
so that pipeline and scheduler may remember of it what they like: those that are dropped no longer pass the networks,
and get the outputs of one that is left.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils import BaseOutput
from torch import Tensor
from typing_extensions import Self

from .batches import LAYERS_FIRST
from .callback import check_pipeline, steps_in_run
from .components import autoencoder, networks
from .families import Size
from .latents import LatentDecoder
from .previews import StepRecorder
from .sampling import replaced, seeded

# Arguments of networks that have an entry for each of the batch in a list, and those that are the same for all.
_LISTS = ("img_shapes", "txt_seq_lens")
_SHARED = ("txt_ids", "img_ids", "image_rotary_emb")

# Pipelines whose denoiser keeps what it saw of a picture, for the whole batch; by how their names begin.
_KEEP_PICTURES = ("Flux2KleinKV", "GlmImage")


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
    check_pipeline(pipe)
    LatentDecoder(pipe)
    name = type(pipe).__name__
    if name.startswith(_KEEP_PICTURES) and arguments.get("image") is not None:
        raise ValueError(
            f"Argument `prune` must be None for {name} with an `image`, of which its denoiser keeps what it saw for the"
            " whole batch."
        )


class Pruner:
    """Drops candidates from a running pipeline. To be entered, and passed as its callback.

    Args:
        pipe: The pipeline.
        prune: How many candidates to keep after which step.
        seeds: Those of the candidates.
        score: Scores pictures `[M, 3, H, W]` with values in [0, 1]: `[M]`, higher is better.
        size: How many candidates pass the networks at a time.

    Attributes:
        generators: Of all candidates, to be passed to the pipeline.
        left: Places of the candidates that are left.
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
        self.generators = [seeded(seed) for seed in seeds]
        self.left = list(range(len(seeds)))
        self.dropped: list[Pruned] = []
        self._seeds = list(seeds)
        self._prune = dict(prune)
        self._score = score
        self._size = size
        self._decoder = LatentDecoder(pipe)
        self._recorder = StepRecorder(pipe, before_step=self._check_steps)
        self._looking = False
        self._undo = ExitStack()

    @property
    def seeds(self) -> list[int]:
        """Those of the candidates that are left."""
        return [self._seeds[place] for place in self.left]

    def survivors(self, images: Any) -> Any:
        """The images of the candidates that are left, of all that the pipeline made."""
        return images[self.left] if isinstance(images, Tensor) else [images[place] for place in self.left]

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._recorder)
            methods = [(network, "forward") for network in networks(self.pipe)]
            if autoencoder(self.pipe) is not None:
                methods += [(autoencoder(self.pipe), name) for name in ("encode", "decode")]
            for owner, name in methods:
                undo.enter_context(replaced(owner, name, partial(self._in_parts, name)))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def __call__(
        self, pipe: DiffusionPipeline, index: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """Drop candidates if this is the step to do so; what the pipeline calls after each step."""
        step = self._recorder.last
        if index not in self._prune or step is None:
            return tensors
        x0 = step.x0()
        with self._look():
            previews = [self._decoder.preview(step, x0[part]) for part in self._parts()]
        scores = self._score(torch.cat(previews).clamp(0, 1))
        order = scores.argsort(descending=True, stable=True).tolist()
        lost = order[self._prune[index] :]
        self.dropped += [Pruned(self.seeds[place], index, float(scores[place])) for place in lost]
        self.left = [self.left[place] for place in sorted(order[: self._prune[index]])]
        return tensors

    def _check_steps(self, latents: Tensor, size: Size | None) -> None:
        last, count = max(self._prune), steps_in_run(self.pipe)
        if last >= count - 1:
            raise ValueError(
                f"Argument `prune` must name steps before the last one, {count - 1}, but got {last}:"
                " steps count from 0."
            )

    @contextmanager
    def _look(self) -> Iterator[None]:
        """Decode what is given, rather than all candidates."""
        self._looking = True
        try:
            yield
        finally:
            self._looking = False

    def _parts(self) -> list[list[int]]:
        """The candidates that are left, a few at a time."""
        return [self.left[start : start + self._size] for start in range(0, len(self.left), self._size)]

    def _in_parts(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of a batch of all candidates that works on a few of them at a time."""
        signature = inspect.signature(method)

        def parted(*args: Any, **kwargs: Any) -> Any:
            if self._looking:
                return method(*args, **kwargs)
            first = next(iter(signature.bind(*args, **kwargs).arguments.values()))
            batch = _Batch(len(self.generators), len(first), isinstance(first, list), name == "decode")
            if name == "encode" and batch.rows != batch.count:
                return method(*args, **kwargs)  # pictures that are the same for all candidates
            if batch.rows % batch.count:
                raise _not_apart(f"a network gets {batch.rows} rows for {batch.count} of them")
            parts = [batch.rows_of(part) for part in self._parts()]
            outputs = [
                method(
                    *(batch.taken(value, rows) for value in args),
                    **{name: batch.taken(value, rows, name) for name, value in kwargs.items()},
                )
                for rows in parts
            ]
            return batch.joined(outputs, [row for rows in parts for row in rows], self.left[0])

        return parted


@dataclass(frozen=True)
class _Batch:
    """The rows of a batch that holds all candidates once, or again for guidance.

    Attributes:
        count: Of candidates.
        rows: Of the batch.
        listed: Whether the network takes and gives batches as lists.
        decoded: Whether it is latents that are decoded. All else keeps its order of channels in memory, by which
            convolutions round; latents of a single image are laid out one after the other.
    """

    count: int
    rows: int
    listed: bool
    decoded: bool

    def rows_of(self, places: Sequence[int]) -> list[int]:
        """The rows of some candidates."""
        return [start + place for start in range(0, self.rows, self.count) for place in places]

    def taken(self, value: Any, rows: Sequence[int], name: str | None = None) -> Any:
        """Some rows of an argument, wherever it holds something with a row for each of the batch."""
        if isinstance(value, Tensor):
            shared = name in _SHARED and value.ndim < 3
            dim = 1 if name is not None and name.endswith(LAYERS_FIRST) else 0
            if shared or value.ndim <= dim or value.shape[dim] != self.rows:
                return value
            if self.decoded:
                return value.index_select(dim, torch.tensor(rows, device=value.device))
            return torch.cat([value.narrow(dim, row, 1) for row in rows], dim)
        if isinstance(value, dict):
            return {key: self.taken(item, rows, name) for key, item in value.items()}
        if isinstance(value, list) and len(value) == self.rows and (self.listed or name in _LISTS):
            return [value[row] for row in rows]
        if isinstance(value, list | tuple):
            return type(value)(self.taken(item, rows, name) for item in value)
        return value

    def joined(self, outputs: Sequence[Any], rows: Sequence[int], stand_in: int) -> Any:
        """The outputs for some rows as one for all; the others get those of the candidate `stand_in`."""
        place = {row: index for index, row in enumerate(rows)}
        order = [place.get(row, place[row - row % self.count + stand_in]) for row in range(self.rows)]
        return self._joined(outputs, order)

    def _joined(self, outputs: Sequence[Any], order: list[int]) -> Any:
        first = outputs[0]
        if isinstance(first, Tensor):
            together = torch.cat(list(outputs))
            if len(together) != 1 + max(order):
                raise _not_apart(f"a network gives {len(together)} rows for {1 + max(order)}")
            return together[torch.tensor(order, device=first.device)]
        if isinstance(first, DiagonalGaussianDistribution):
            return type(first)(self._joined([one.parameters for one in outputs], order), first.deterministic)
        if isinstance(first, BaseOutput):
            return type(first)(**{key: self._joined([one[key] for one in outputs], order) for key in first})
        if isinstance(first, dict):
            return {key: self._joined([one[key] for one in outputs], order) for key in first}
        if isinstance(first, list) and self.listed:
            flat = [item for output in outputs for item in output]
            return [flat[index] for index in order]
        if isinstance(first, list | tuple):
            return type(first)(self._joined(items, order) for items in zip(*outputs, strict=True))
        if first is None:
            return None
        raise _not_apart(f"a network gives a {type(first).__name__} for all of them")


def _not_apart(why: str) -> ValueError:
    return ValueError(
        f"Argument `prune` must be None for a pipeline whose candidates cannot be told apart: {why}."
    )
