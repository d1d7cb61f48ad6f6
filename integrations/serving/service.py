"""Rewards by name, which score the images of concurrent requests in common batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

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
from .groups import Group, GroupAnswer, GroupReward, GroupScore
from .limits import Limits
from .measures import Measures

# What trainers send, and no decoder more.
_FORMATS = ("JPEG", "PNG", "WEBP")

Request = TypeVar("Request", "Sample", Group)
Scored = TypeVar("Scored", "Score", GroupScore)


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
        `NAME/TASK` for each of its tasks; nothing of a model that only compares.
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
            continue
        tasks.sort(key=lambda task: task != "image-text")
        of_tasks = {task: PointwiseReward(model, task) for task in tasks}
        rewards[name] = of_tasks[tasks[0]]
        rewards.update({f"{name}/{task}": reward for task, reward in of_tasks.items()})
    return rewards


class RewardService:
    """Scores samples, and groups of them, by named rewards.

    Samples of one reward that arrive within `wait` seconds, or while a batch is scored, form the next batch. A batch
    is decoded when its turn comes: what waits is as large as it was sent.

    Args:
        rewards: The rewards by name; the first answers where a request names none.
        limits: How much is taken.
        batch_size: The most images of a batch.
        wait: For how many seconds a batch that is not full waits for more images.
        groups: The groups' rewards by name; those of `rewards` if None.

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
        groups: Mapping[str, GroupReward] | None = None,
    ) -> None:
        self._groups = (
            {name: GroupReward.of(reward) for name, reward in rewards.items()}
            if groups is None
            else dict(groups)
        )
        if not rewards and not self._groups:
            raise ValueError("Argument `rewards` must hold at least one reward, but it is empty.")
        self.limits = limits or Limits()
        self.measures = Measures()
        self._rewards = dict(rewards)
        self._batchers = {
            name: Batcher(partial(self._score_batch, name), batch_size, wait) for name in self._rewards
        }
        self._group_batchers = {
            name: Batcher(partial(self._score_groups, name), batch_size, wait, _size) for name in self._groups
        }
        self._batch_size = batch_size
        self._waiting = 0

    @property
    def names(self) -> list[str]:
        """The names of the rewards."""
        return list(self._rewards)

    @property
    def group_names(self) -> list[str]:
        """The names of the groups' rewards."""
        return list(self._groups)

    def find(self, name: str | None) -> str:
        """Return the name of a reward, the first one's for None.

        Raises:
            RequestError: 404, if there is no such reward.
        """
        return _find(name, self.names, "reward")

    def find_group(self, name: str | None) -> str:
        """Return the name of a groups' reward, the first one's for None.

        Raises:
            RequestError: 404, if there is no such reward.
        """
        return _find(name, self.group_names, "groups' reward")

    def signatures(self, name: str) -> dict[str, str]:
        """Return what makes the scores of each task of a reward."""
        return self._rewards[name].signatures

    def group_signatures(self, name: str) -> dict[str, str]:
        """Return what makes the scores of each task of a groups' reward."""
        return self._groups[name].signatures

    def compares_texts(self, name: str) -> bool:
        """Whether the candidates of a groups' reward are texts."""
        return self._groups[name].candidates == "text"

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
        with self._waiting_for(len(samples)):
            return await self._batchers[name].ask_all(samples)

    async def score_groups(self, name: str, groups: Sequence[Group]) -> list[GroupAnswer]:
        """Return the answer to each group.

        Args:
            name: The name of a groups' reward.
            groups: What is to be scored.

        Raises:
            RequestError: If there are no groups (422), more candidates than a request or a group may have (413), or
                more than may wait at present (429); if a group lacks what the reward looks at, or a text is too long.
        """
        self._check_groups(self._groups[name], groups)
        with self._waiting_for(sum(map(_size, groups))):
            return await self._group_batchers[name].ask_all(groups)

    @contextmanager
    def _waiting_for(self, count: int) -> Iterator[None]:
        if self._waiting + count > self.limits.waiting_images:
            raise RequestError(
                429,
                f"{self._waiting} images wait for their scores, and at most {self.limits.waiting_images} may: ask again"
                " later.",
            )
        self._wait_for(count)
        try:
            yield
        finally:
            self._wait_for(-count)

    def _wait_for(self, change: int) -> None:
        self._waiting += change
        self.measures.waiting_images.set(self._waiting)

    def _check(self, reward: PointwiseReward, samples: Sequence[Sample]) -> None:
        self._check_count(len(samples))
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
            self._check_text(sample.prompt, sample.name)

    def _check_groups(self, reward: GroupReward, groups: Sequence[Group]) -> None:
        self._check_count(sum(map(_size, groups)))
        for place, group in enumerate(groups):
            if _size(group) < 2:
                raise RequestError(
                    422,
                    f"Each group must hold at least two candidates, but group {place} has {_size(group)}.",
                )
            if _size(group) > self._batch_size:
                raise RequestError(
                    413,
                    f"A group must hold at most {self._batch_size} candidates, the batch size of the server, but group"
                    f" {place} has {_size(group)}.",
                )
            if reward.looks_at("text") and group.prompt is None:
                raise RequestError(
                    422, f"Each group must have a prompt for this reward, but group {place} has none."
                )
            if reward.looks_at("image") and group.reference is None:
                raise RequestError(
                    422,
                    f"Each group must have a reference image for this reward, but group {place} has none.",
                )
            self._check_text(group.prompt, f"group {place}")
            for candidate, name in zip(group.candidates, group.names, strict=True):
                if isinstance(candidate, str):
                    self._check_text(candidate, name)

    def _check_count(self, count: int) -> None:
        if not count:
            raise RequestError(422, "A request must hold at least one image, but got none.")
        if count > self.limits.images:
            raise RequestError(
                413, f"A request must hold at most {self.limits.images} images, but got {count}."
            )

    def _check_text(self, text: str | None, name: str) -> None:
        if text is not None and len(text) > self.limits.text_characters:
            raise RequestError(
                413,
                f"A prompt must have at most {self.limits.text_characters} characters, but that of {name} has"
                f" {len(text)}.",
            )

    def _score_batch(self, name: str, samples: Sequence[Sample]) -> list[Answer]:
        reward = self._rewards[name]
        return self._answer_batch(
            name, samples, partial(_files, bool(reward.reference_keys)), partial(_score, reward)
        )

    def _score_groups(self, name: str, groups: Sequence[Group]) -> list[GroupAnswer]:
        reward = self._groups[name]
        return self._answer_batch(name, groups, reward.files, reward.answer)

    def _answer_batch(
        self,
        name: str,
        requests: Sequence[Request],
        files_of: Callable[[Request], list[tuple[bytes, str]]],
        score: Callable[[Sequence[tuple[Request, list[Tensor]]]], list[Scored | ValueError]],
    ) -> list[Scored | ValueError | TypeError]:
        """Answers a batch; those requests whose files cannot be decoded get their errors and are left out."""
        start = time.perf_counter()
        files = [files_of(request) for request in requests]
        tasks = [partial(self._decode, *file) for of_one in files for file in of_one]
        decoded = iter(run_tasks(tasks, torch.get_num_threads()))
        images = [[next(decoded) for _ in of_one] for of_one in files]
        errors = [next((one for one in of_one if isinstance(one, ValueError)), None) for of_one in images]
        readable = [
            (request, cast(list[Tensor], of_one))
            for request, of_one, error in zip(requests, images, errors, strict=True)
            if error is None
        ]
        scored = iter(score(readable) if readable else ())
        answers = [next(scored) if error is None else error for error in errors]
        failed = sum(
            _size(request)
            for request, answer in zip(requests, answers, strict=True)
            if isinstance(answer, ValueError)
        )
        count = sum(map(_size, requests))
        self.measures.images.labels(name).inc(count - failed)
        self.measures.refused_images.labels(name).inc(failed)
        self.measures.batch_images.observe(count)
        self.measures.batch_seconds.observe(time.perf_counter() - start)
        return list(answers)

    def _decode(self, content: bytes, name: str) -> Tensor | ValueError:
        try:
            return decode_image(content, name, max_pixels=self.limits.pixels, formats=_FORMATS)
        except ValueError as error:
            return error


def _size(request: Sample | Group) -> int:
    """How many candidates a request has."""
    return len(request.candidates) if isinstance(request, Group) else 1


def _find(name: str | None, names: Sequence[str], kind: str) -> str:
    if name is None and names:
        return names[0]
    if name not in names:
        raise RequestError(
            404, f"The {kind} must be one of {', '.join(names) or 'none'}, but got {name!r:.200}."
        )
    return cast(str, name)


def _files(with_reference: bool, sample: Sample) -> list[tuple[bytes, str]]:
    """What of a sample is to be decoded, and what messages call it."""
    files = [(sample.image, sample.name)]
    return [*files, (cast(bytes, sample.reference), sample.reference_name)] if with_reference else files


def _score(reward: PointwiseReward, batch: Sequence[tuple[Sample, list[Tensor]]]) -> list[Score | ValueError]:
    device = reward.model.device
    rewards, info = reward(
        [images[0].to(device) for _, images in batch],
        [sample.prompt or "" for sample, _ in batch],
        [dict.fromkeys(reward.reference_keys, images[-1].to(device)) for _, images in batch],
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
