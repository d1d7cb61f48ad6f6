"""Rewards of groups: what is made for one prompt, or says something of one image, competes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisim_metrics.functional import compare, win_rates
from unisim_metrics.metrics.wrappers import EmbedOnce
from unisim_metrics.models.answering import answers_of, check_answers
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Modality, Task, modalities

from ..rewards import PointwiseReward, one_at_a_time


@dataclass(frozen=True)
class Group:
    """Candidates that compete.

    Attributes:
        candidates: Encoded images, or texts for a task that compares those.
        prompt: The text that all are for, for tasks that look at one.
        reference: The encoded image that all are held against, for tasks that look at one.
        names: What messages call the candidates.
        reference_name: What messages call the reference.
    """

    candidates: tuple[bytes, ...] | tuple[str, ...]
    prompt: str | None
    reference: bytes | None
    names: tuple[str, ...]
    reference_name: str


@dataclass(frozen=True)
class GroupScore:
    """The rewards of a group's candidates, and the scores that make them, not weighted."""

    rewards: list[float]
    scores: dict[str, list[float]]


GroupAnswer = GroupScore | ValueError | TypeError
"""What a group gets; its error if an image of it cannot be read, or it cannot be scored."""


class GroupReward:
    """Rewards candidates by the share of the others in their group that they beat, weighted over tasks.

    For images it answers as `GroupwiseReward` does; texts and the odd one out compete as well.

    Args:
        model_name_or_path: What `load_model` takes: any model.
        weights: The weight of each task; all compare images, or all texts.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes.

    Raises:
        ValueError: If the model does not answer a task.
    """

    def __init__(
        self,
        model_name_or_path: ModelLike,
        weights: Mapping[Task, float],
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> None:
        self.model = as_model(model_name_or_path)
        self.weights = dict(weights)
        self.method = method
        self.prompts = prompts
        for task in self.weights:
            check_answers(self.model, task, name="weights")

    @classmethod
    def of(cls, reward: PointwiseReward) -> GroupReward:
        """The group's reward by the model, tasks and weights of a single image's."""
        return cls(reward.model, reward.weights, reward.method, reward.prompts)

    @property
    def candidates(self) -> Modality:
        """Whether images compete or texts."""
        return modalities(next(iter(self.weights)))[0]

    def looks_at(self, modality: Modality) -> bool:
        """Whether a task holds candidates against a text, or against an image."""
        return any(modalities(task)[1] == modality for task in self.weights)

    @property
    def signatures(self) -> dict[str, str]:
        """What makes the scores of each task."""
        return {task: signature(self.model, task, self.method, self.prompts) for task in self.weights}

    @torch.no_grad()
    def __call__(
        self,
        groups: Sequence[Sequence[Any]],
        prompts: Sequence[str | None],
        references: Sequence[Tensor | None],
    ) -> tuple[Tensor, dict[Task, Tensor]]:
        """Return rewards `[B, N]`, and scores `[B, N]` of each task; NaN where a smaller group has no candidate.

        Args:
            groups: B groups of images, uint8 `[C, H, W]`, or of texts.
            prompts: B texts, for tasks that look at them.
            references: B images, for tasks that look at them.

        Raises:
            ValueError: If a group is too small, or not of three for the odd one out.
        """
        against = {"text": prompts, "image": references, None: None}
        with one_at_a_time:
            embedder = EmbedOnce(self.model)
            scores = {
                task: compare(embedder, against[modalities(task)[1]], groups, task, self.method, self.prompts)
                for task in self.weights
            }
        shares = [weight * win_rates(scores[task]) for task, weight in self.weights.items()]
        return torch.stack(shares).sum(dim=0), scores

    def files(self, group: Group) -> list[tuple[bytes, str]]:
        """What of a group is to be decoded, and what messages call it: the images that compete, then the reference."""
        files = [
            (candidate, name)
            for candidate, name in zip(group.candidates, group.names, strict=True)
            if isinstance(candidate, bytes)
        ]
        if group.reference is not None and self.looks_at("image"):
            files.append((group.reference, group.reference_name))
        return files

    def answer(self, batch: Sequence[tuple[Group, Sequence[Tensor]]]) -> list[GroupScore | ValueError]:
        """Return the scores of groups, each with its decoded files; an error where a reward is not finite.

        Raises:
            ValueError: As for a call.
        """
        device = self.model.device
        images = [[image.to(device) for image in decoded] for _, decoded in batch]
        rewards, tables = self(
            [
                list(group.candidates) if self.candidates == "text" else of_one[: len(group.candidates)]
                for (group, _), of_one in zip(batch, images, strict=True)
            ],
            [group.prompt for group, _ in batch],
            [of_one[-1] if self.looks_at("image") else None for of_one in images],
        )
        answers: list[GroupScore | ValueError] = []
        for place, (group, _) in enumerate(batch):
            count = len(group.candidates)
            values = rewards[place, :count]
            if values.isfinite().all():
                scores: dict[str, list[float]] = {
                    task: table[place, :count].tolist() for task, table in tables.items()
                }
                answers.append(GroupScore(values.tolist(), scores))
            else:
                answers.append(ValueError(f"The rewards of the group of {group.names[0]} are not finite."))
        return answers


def groups_of_models(models: Mapping[str, ModelLike]) -> dict[str, GroupReward]:
    """Make the groups' rewards of models: all tasks by which each compares.

    Args:
        models: What `load_model` takes, by the name that it is served under.

    Returns:
        For each model `NAME` its reward for `image-text` (for its first task, if it does not answer that), and
        `NAME/TASK` for each of its tasks.
    """
    rewards = {}
    for name, source in models.items():
        model = as_model(source)
        tasks = sorted(answers_of(model), key=lambda task: task != "image-text")
        of_tasks = {task: GroupReward(model, {task: 1.0}) for task in tasks}
        rewards[name] = of_tasks[tasks[0]]
        rewards.update({f"{name}/{task}": reward for task, reward in of_tasks.items()})
    return rewards
