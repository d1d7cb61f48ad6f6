"""UniSim as a reward for fine-tuning image generators by reinforcement learning.

A reward is called as the trainers of DDPO (Black et al. 2023) and Flow-GRPO (Liu et al. 2025) call theirs,
`reward(images, prompts, metadata) -> (rewards, info)`. Pointwise, every image is scored by itself. Groupwise, the
images of one prompt compete (N-alternative forced choice): what group-relative advantages are computed from.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from unisim_metrics.columns import as_lists
from unisim_metrics.functional import compare, meetings, score_pairs, wins
from unisim_metrics.images import list_images
from unisim_metrics.metrics.wrappers import EmbedOnce
from unisim_metrics.models.answering import ANY_WAY, SCORED_ALONE, Way, check_answers
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike, check_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Task, check_method, check_task, modalities

from .arrays import channels_first, channels_first_batch, device_of

Kind = Literal["win-rate", "score"]
Metadata: TypeAlias = Sequence[Mapping[str, Any]]

# Trainers call rewards from several threads, while a model that came by name is one for all of them: it moves between
# devices, and a tokenizer of the Hub must not be used by two threads at once.
_one_at_a_time = threading.RLock()


class Batch(NamedTuple):
    """What a trainer hands over: N images (a tensor `[N, C, H, W]` or a list), N prompts, N mappings or None."""

    images: Any
    prompts: Sequence[str]
    metadata: Metadata | None

    def entries(self, key: str) -> list[Any]:
        """What the metadata hold under a key, for each image."""
        entries = [] if self.metadata is None else list(self.metadata)
        if len(entries) != len(self.prompts) or any(key not in entry for entry in entries):
            raise ValueError(
                f"Argument `metadata` must have one mapping for each of the {len(self.prompts)} images, with an entry"
                f" under {key!r}, but got none for some."
            )
        return [entry[key] for entry in entries]


class UniSimRewardFunction(ABC):
    """What both rewards share: tasks and their weights, and the call; not to be used by itself."""

    # How its model may answer.
    ways: ClassVar[tuple[Way, ...]] = ANY_WAY

    def __init__(
        self,
        model_name_or_path: ModelLike,
        tasks: Task | Mapping[Task, float],
        method: Method,
        prompts: PromptsLike,
        reference_key: str,
    ) -> None:
        self.weights: dict[Task, float] = {}
        for name, weight in (tasks if isinstance(tasks, Mapping) else {tasks: 1.0}).items():
            task = check_task(name)
            if task is None or task == "odd-one-out" or modalities(task)[0] != "image":
                raise ValueError(f"Argument `tasks` must name tasks that score images, but got {name!r}.")
            if task in self.weights:
                raise ValueError(f"Argument `tasks` must name each task once, but got {task!r} by two names.")
            self.weights[task] = weight
        if not self.weights:
            raise ValueError("Argument `tasks` must name at least one task, but it is empty.")
        self.method = check_method(method)
        self.prompts = check_prompts(prompts)
        self.reference_key = reference_key
        self.model = as_model(model_name_or_path)
        for task in self.weights:
            check_answers(self.model, task, self.ways, name="tasks")

    @property
    def signatures(self) -> dict[str, str]:
        """What makes the scores of each task: model and weights, task, prompts, preprocessing, version."""
        return {
            task: signature(self.model, task, self.method, self.prompts, self.ways) for task in self.weights
        }

    @torch.no_grad()
    def __call__(
        self, images: Any, prompts: Sequence[str], metadata: Metadata | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the rewards of N images, and what they are made of; see the class.

        Raises:
            ValueError: If lengths differ, an image has a wrong shape or range, or a reference is missing.
            TypeError: If something is neither image nor text.
        """
        images, prompts = as_lists(images), as_lists(prompts)
        batch = Batch(channels_first_batch(images, "images"), prompts, metadata)
        count = len(list_images(batch.images, "images"))
        if isinstance(prompts, str) or len(prompts) != count:
            raise ValueError(
                f"Argument `prompts` must have one text for each of the {count} images, but got {prompts!r}."
            )
        device = device_of(batch.images)
        with _one_at_a_time:
            if device is None:
                device = self.model.device
            elif device != self.model.device:
                self.model.to(device)
            rewards, scores = self.score(batch)
        total = torch.stack([weight * rewards[task].float() for task, weight in self.weights.items()]).sum(
            dim=0
        )
        scores = {task: values.to(device, torch.float32) for task, values in scores.items()}
        return total.to(device), {"scores": scores, "signatures": self.signatures}

    @abstractmethod
    def score(self, batch: Batch) -> tuple[dict[Task, Tensor], dict[Task, Tensor]]:
        """Rewards `[N]` and scores `[N]` of a batch by the name of the task."""

    def targets(self, task: Task, batch: Batch, places: Sequence[int]) -> list[Any] | None:
        """What the images at some places of the batch are scored against."""
        modality = modalities(task)[1]
        if modality == "text":
            return [batch.prompts[place] for place in places]
        if modality is None:
            return None
        references = batch.entries(self.reference_key)
        return [channels_first(references[place]) for place in places]


class PointwiseReward(UniSimRewardFunction):
    """A reward that scores every image by itself: a UniSim score, or a weighted sum of several.

    It is called with

    - `images`: N images: float tensors `[N, C, H, W]` in [0, 1], uint8 arrays or tensors `[N, H, W, C]`, or a
      list of PIL images, tensors `[C, H, W]` or arrays `[H, W, C]`;
    - `prompts`: N texts;
    - `metadata`: N mappings with the reference images, for `image-image`; else it is not looked at;

    and returns

    - rewards: float32 `[N]`, on the device of the images, without a graph;
    - a dictionary: under `scores` those of each task, not weighted; under `signatures` what makes them.

    Images are embedded once for all tasks, equal prompts once. The model follows the images to their device.

    Args:
        model_name_or_path: What `load_model` takes: a model that scores single images, such as an encoder.
        tasks: A task, or the weights of several: `{"image-text": 1.0, "quality": 0.5}`.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        reference_key: Under which key the metadata hold the reference image.

    Raises:
        ValueError: If a task does not score images, the model does not score it, or an argument is out of its range.

    Examples:
        >>> import torch
        >>> from unisim_metrics.integrations.rewards import PointwiseReward
        >>> reward = PointwiseReward(tasks={"image-text": 1.0, "quality": 0.5})
        >>> rewards, info = reward(torch.rand(2, 3, 64, 64), ["a cat", "a dog"], [{}, {}])
        >>> rewards.shape, sorted(info["scores"])
        (torch.Size([2]), ['image-text', 'quality'])
    """

    ways: ClassVar[tuple[Way, ...]] = SCORED_ALONE

    def __init__(
        self,
        model_name_or_path: ModelLike = "unisim-mini",
        tasks: Task | Mapping[Task, float] = "image-text",
        *,
        method: Method = "naive",
        prompts: PromptsLike = None,
        reference_key: str = "reference",
    ) -> None:
        super().__init__(model_name_or_path, tasks, method, prompts, reference_key)

    def score(self, batch: Batch) -> tuple[dict[Task, Tensor], dict[Task, Tensor]]:
        """Scores of each image against its own prompt or reference; they are the rewards."""
        embedder = EmbedOnce(self.model)
        everyone = range(len(batch.prompts))
        scores = {
            task: score_pairs(
                embedder, batch.images, self.targets(task, batch, everyone), task, self.method, self.prompts
            )
            for task in self.weights
        }
        return scores, scores


class GroupwiseReward(UniSimRewardFunction):
    """A reward by competition: the images of a prompt are ranked against one another.

    It is called with what `PointwiseReward` is called with, and returns the like. All images of a prompt that
    stand in one call are a group; it takes two. A trainer that spreads a group over several processes has to
    gather it first.

    The reward is the share of the others in its group that an image beats (a tie counts a half). It lies in
    [0, 1], and its mean is one half in every group: an easy prompt pays no more than a hard one, and
    differences are of the same size whatever the spread of the scores. With `kind="score"` it is the score
    within the group itself: a similarity for an encoder (a difference of two for `method="clip-iqa"`), the
    log-probability of being chosen for a generative model.

    Args:
        model_name_or_path: What `load_model` takes: any model.
        tasks: A task, or the weights of several.
        kind: `"win-rate"` or `"score"`.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        reference_key: Under which key the metadata hold the reference image; the first of a group counts.
        group_key: Under which key the metadata hold what tells the groups apart; by their prompts if None.

    Raises:
        ValueError: If a task does not score images, the model does not answer it, or an argument is out of its range.

    Examples:
        >>> import torch
        >>> from unisim_metrics.integrations.rewards import GroupwiseReward
        >>> reward = GroupwiseReward()
        >>> rewards, _ = reward(torch.rand(4, 3, 64, 64), ["a cat", "a dog", "a cat", "a dog"])
        >>> rewards.sort().values
        tensor([0., 0., 1., 1.])
    """

    def __init__(
        self,
        model_name_or_path: ModelLike = "unisim-mini",
        tasks: Task | Mapping[Task, float] = "image-text",
        *,
        kind: Kind = "win-rate",
        method: Method = "naive",
        prompts: PromptsLike = None,
        reference_key: str = "reference",
        group_key: str | None = None,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"Argument `kind` must be one of {get_args(Kind)}, but got {kind!r}.")
        super().__init__(model_name_or_path, tasks, method, prompts, reference_key)
        self.kind = kind
        self.group_key = group_key

    def score(self, batch: Batch) -> tuple[dict[Task, Tensor], dict[Task, Tensor]]:
        """Scores of each image within its group, and the rewards that they make."""
        groups = self._groups(batch)
        alternatives = [
            batch.images[group]
            if isinstance(batch.images, Tensor)
            else [batch.images[place] for place in group]
            for group in groups
        ]
        firsts = [group[0] for group in groups]
        embedder = EmbedOnce(self.model)
        order = torch.tensor([place for group in groups for place in group]).argsort()
        rewards: dict[Task, Tensor] = {}
        scores: dict[Task, Tensor] = {}
        for task in self.weights:
            references = self.targets(task, batch, firsts)
            table = compare(embedder, references, alternatives, task, self.method, self.prompts)
            present = ~table.isnan()
            back = order.to(table.device)
            scores[task] = table[present][back]
            shares = wins(table).sum(dim=-1) / (2 * meetings(table).sum(dim=-1))
            rewards[task] = shares[present][back] if self.kind == "win-rate" else scores[task]
        return rewards, scores

    def _groups(self, batch: Batch) -> list[list[int]]:
        """Places of the images of each group."""
        keys = list(batch.prompts) if self.group_key is None else batch.entries(self.group_key)
        groups: dict[Any, list[int]] = {}
        for place, key in enumerate(keys):
            groups.setdefault(key, []).append(place)
        for key, group in groups.items():
            if len(group) < 2:
                raise ValueError(
                    "Argument `images` must hold at least two images a group, which compete, but group"
                    f" {key!r} has one: gather whole groups first, or use `PointwiseReward`."
                )
            if len({batch.prompts[place] for place in group}) > 1:
                raise ValueError(
                    f"Argument `prompts` must be alike within a group, but group {key!r} has several."
                )
        return list(groups.values())
