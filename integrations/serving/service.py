"""Rewards by name, which score the images of concurrent requests in common batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from unisim_metrics.images import decode_image
from unisim_metrics.images.threads import run_tasks
from unisim_metrics.models.answering import SCORED_ALONE, ways_of
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.tasks import TASKS, Task, modalities

from ..batching import Batcher
from ..rewards import PointwiseReward
from .failures import RequestError
from .limits import Limits
from .measures import Measures

# What trainers send, and no decoder more.
_FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True)
class Sample:
    """One image to reward.

    Attributes:
        image: The encoded image.
        prompt: Its text, for tasks that look at one.
        reference: The encoded image that it is held against, for `image-image`.
        name: What messages call the image.
        reference_name: What messages call the reference.
    """

    image: bytes
    prompt: str | None = None
    reference: bytes | None = None
    name: str = "image"
    reference_name: str = "reference"


@dataclass(frozen=True)
class Score:
    """The reward of one image, and the scores that make it, not weighted."""

    reward: float
    scores: dict[str, float]


Answer = Score | ValueError | TypeError
"""What a sample gets; its error if the image cannot be read or scored."""


def rewards_of_models(
    models: Mapping[str, ModelLike], device: torch.device | str | None = None
) -> dict[str, PointwiseReward]:
    """Make the rewards of models: all tasks by which each scores single images.

    Args:
        models: What `load_model` takes, by the name that it is served under.
        device: Where the models run; the accelerator if None and there is one.

    Returns:
        For each model `NAME` its reward for `image-text` (for its first task, if it does not answer that), and
        `NAME/TASK` for each of its tasks.

    Raises:
        ValueError: If a model scores no single images.
    """
    rewards = {}
    for name, source in models.items():
        model = as_model(source)
        model.to(device or _accelerator())
        ways = ways_of(model)
        tasks: list[Task] = [
            task
            for task in TASKS
            if modalities(task)[0] == "image"
            and task != "odd-one-out"
            and not set(SCORED_ALONE).isdisjoint(ways.get(task, ()))
        ]
        if not tasks:
            raise ValueError(
                f"Argument `models` must hold models that score single images, but {name!r} does not."
            )
        tasks.sort(key=lambda task: task != "image-text")
        of_tasks = {task: PointwiseReward(model, task) for task in tasks}
        rewards[name] = of_tasks[tasks[0]]
        rewards.update({f"{name}/{task}": reward for task, reward in of_tasks.items()})
    return rewards


class RewardService:
    """Scores samples by named rewards.

    Samples of one reward that arrive within `wait` seconds, or while a batch is scored, form the next batch. A batch
    is decoded when its turn comes: what waits is as large as it was sent.

    Args:
        rewards: The rewards by name; the first answers where a request names none.
        limits: How much is taken.
        batch_size: The most images of a batch.
        wait: For how many seconds a batch that is not full waits for more images.

    Raises:
        ValueError: If there is no reward, or an argument is out of its range.
    """

    def __init__(
        self,
        rewards: Mapping[str, PointwiseReward],
        limits: Limits | None = None,
        *,
        batch_size: int = 32,
        wait: float = 0.01,
    ) -> None:
        if not rewards:
            raise ValueError("Argument `rewards` must hold at least one reward, but it is empty.")
        self.limits = limits or Limits()
        self.measures = Measures()
        self._rewards = dict(rewards)
        self._batchers = {
            name: Batcher(partial(self._score_batch, name), batch_size, wait) for name in self._rewards
        }
        self._waiting = 0

    @property
    def names(self) -> list[str]:
        """The names of the rewards."""
        return list(self._rewards)

    def find(self, name: str | None) -> str:
        """Return the name of a reward, the first one's for None.

        Raises:
            RequestError: 404, if there is no such reward.
        """
        if name is None:
            return next(iter(self._rewards))
        if name not in self._rewards:
            raise RequestError(
                404, f"The reward must be one of {', '.join(self._rewards)}, but got {name!r:.200}."
            )
        return name

    def signatures(self, name: str) -> dict[str, str]:
        """Return what makes the scores of each task of a reward."""
        return self._rewards[name].signatures

    async def score(self, name: str, samples: Sequence[Sample]) -> list[Answer]:
        """Return the answer to each sample.

        Args:
            name: The name of a reward.
            samples: What is to be scored.

        Raises:
            RequestError: If there are no samples (422), more than a request may have (413), or more than may wait at
                present (429); if one lacks what the reward looks at, or its text is too long (422).
        """
        self._check(self._rewards[name], samples)
        if self._waiting + len(samples) > self.limits.waiting_images:
            raise RequestError(
                429,
                f"{self._waiting} images wait for their scores, and at most {self.limits.waiting_images} may: ask again"
                " later.",
            )
        self._wait_for(len(samples))
        try:
            return await self._batchers[name].ask_all(samples)
        finally:
            self._wait_for(-len(samples))

    def _wait_for(self, change: int) -> None:
        self._waiting += change
        self.measures.waiting_images.set(self._waiting)

    def _check(self, reward: PointwiseReward, samples: Sequence[Sample]) -> None:
        if not samples:
            raise RequestError(422, "A request must hold at least one image, but got none.")
        if len(samples) > self.limits.images:
            raise RequestError(
                413, f"A request must hold at most {self.limits.images} images, but got {len(samples)}."
            )
        wants_prompts = any(modalities(task)[1] == "text" for task in reward.weights)
        for sample in samples:
            if wants_prompts and sample.prompt is None:
                raise RequestError(
                    422, f"Each image must have a prompt for this reward, but {sample.name} has none."
                )
            if reward.reference_keys and sample.reference is None:
                raise RequestError(
                    422,
                    f"Each image must have a reference image for this reward, but {sample.name} has none.",
                )
            if sample.prompt is not None and len(sample.prompt) > self.limits.text_characters:
                raise RequestError(
                    413,
                    f"A prompt must have at most {self.limits.text_characters} characters, but that of {sample.name}"
                    f" has {len(sample.prompt)}.",
                )

    def _score_batch(self, name: str, samples: Sequence[Sample]) -> list[Answer]:
        """Answers the samples of a batch; those that cannot be decoded get their errors and are left out."""
        start = time.perf_counter()
        reward = self._rewards[name]
        tasks = [partial(self._decode, sample, bool(reward.reference_keys)) for sample in samples]
        decoded = run_tasks(tasks, torch.get_num_threads())
        readable = [
            (sample, images)
            for sample, images in zip(samples, decoded, strict=True)
            if not isinstance(images, ValueError)
        ]
        scored = iter(_score(reward, readable) if readable else ())
        answers = [images if isinstance(images, ValueError) else next(scored) for images in decoded]
        self.measures.images.labels(name).inc(sum(isinstance(answer, Score) for answer in answers))
        self.measures.refused_images.labels(name).inc(
            sum(not isinstance(answer, Score) for answer in answers)
        )
        self.measures.batch_images.observe(len(samples))
        self.measures.batch_seconds.observe(time.perf_counter() - start)
        return answers

    def _decode(self, sample: Sample, with_reference: bool) -> tuple[Tensor, Tensor | None] | ValueError:
        decode = partial(decode_image, max_pixels=self.limits.pixels, formats=_FORMATS)
        try:
            reference = None
            if with_reference:
                reference = decode(cast(bytes, sample.reference), sample.reference_name)
            return decode(sample.image, sample.name), reference
        except ValueError as error:
            return error


def _score(
    reward: PointwiseReward, batch: Sequence[tuple[Sample, tuple[Tensor, Tensor | None]]]
) -> list[Answer]:
    device = reward.model.device
    rewards, info = reward(
        [image.to(device) for _, (image, _) in batch],
        [sample.prompt or "" for sample, _ in batch],
        [
            {} if reference is None else dict.fromkeys(reward.reference_keys, reference.to(device))
            for _, (_, reference) in batch
        ],
    )
    finite = rewards.isfinite().tolist()
    columns = {task: scores.tolist() for task, scores in info["scores"].items()}
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return [
        Score(value, row) if good else ValueError(f"The reward of {sample.name} is not finite: {value}.")
        for (sample, _), value, row, good in zip(batch, rewards.tolist(), rows, finite, strict=True)
    ]


def _accelerator() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
