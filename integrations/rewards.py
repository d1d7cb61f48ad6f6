"""UniSim as a reward for fine-tuning image generators by reinforcement learning.

A reward is called as the trainers of DDPO (Black et al. 2023) and Flow-GRPO (Liu et al. 2025) call theirs,
`reward(images, prompts, metadata) -> (rewards, info)`. Pointwise, every image is scored by itself. Groupwise, the
images of one prompt compete (N-alternative forced choice): what group-relative advantages are computed from.
"""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, cast, get_args

import torch
from torch import Tensor

from unisim_metrics.columns import as_lists
from unisim_metrics.functional import compare, score_pairs, win_rates
from unisim_metrics.images import list_images
from unisim_metrics.metrics.wrappers import EmbedOnce
from unisim_metrics.models.answering import ANY_WAY, SCORED_ALONE, Way, answers_of, check_answers
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike, check_prompts
from unisim_metrics.signature import signature
from unisim_metrics.tasks import Method, Task, check_method, check_task, modalities

from .arrays import channels_first, channels_first_batch, device_of
from .watching import Drift, Watch

Kind = Literal["win-rate", "score"]
Metadata: TypeAlias = Sequence[Mapping[str, Any]]
WatchLike: TypeAlias = "Watch | Mapping[str, PointwiseReward | ModelLike] | None"

# Trainers call rewards from several threads, while a model that came by name is one for all of them: it moves between
# devices, and a tokenizer of the Hub must not be used by two threads at once.
one_at_a_time = threading.RLock()


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
        watch: WatchLike,
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
        self.judges: dict[str, PointwiseReward] = {}
        self.drifts: dict[str, Drift] = {}
        if watch is not None:
            watch = watch if isinstance(watch, Watch) else Watch(watch)
            self.judges = {name: as_judge(name, judge, reference_key) for name, judge in watch.judges.items()}
            self.drifts = {name: Drift(watch.window, watch.rise, watch.fall) for name in self.judges}

    @property
    def reference_keys(self) -> set[str]:
        """The keys under which metadata have to hold a reference image, for the reward or for who watches it."""
        own = {self.reference_key} if "image-image" in self.weights else set()
        return own.union(*(judge.reference_keys for judge in self.judges.values()))

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
        with one_at_a_time:
            device = device_of(batch.images) or self.model.device
            total, scores = self.weigh(batch, device)
            watched = {name: judge.weigh(batch, device)[0] for name, judge in self.judges.items()}
            trend = self.trend(total, scores)
            partings = {
                name: drift.update(
                    None if trend is None else trend.tolist(), watched[name].tolist(), batch.prompts
                )
                for name, drift in self.drifts.items()
            }
        for name, parting in partings.items():
            if parting is not None:
                # The caller of the reward, behind the decorator.
                warnings.warn(parting.message(name), UserWarning, stacklevel=3)
        info = {"scores": scores, "signatures": self.signatures}
        return total, {**info, "watch": watched} if self.judges else info

    def weigh(self, batch: Batch, device: torch.device) -> tuple[Tensor, dict[Task, Tensor]]:
        """The weighted sums `[N]` of a batch and the scores of each task, float32, where the images are."""
        if self.model.device != device:
            self.model.to(device)
        rewards, scores = self.score(batch)
        total = torch.stack([weight * rewards[task].float() for task, weight in self.weights.items()]).sum(
            dim=0
        )
        return total.to(device), {task: values.to(device, torch.float32) for task, values in scores.items()}

    def trend(self, total: Tensor, scores: Mapping[Task, Tensor]) -> Tensor | None:
        """What rises with the reward's success, `[N]`: the reward itself, unless a subclass says otherwise."""
        return total

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
    - a dictionary: under `scores` those of each task, not weighted; under `signatures` what makes them; under `watch`,
      if the reward is watched, float32 `[N]` by the name of each judge, which are no part of the rewards.

    Images are embedded once for all tasks, equal prompts once. The model follows the images to their device.

    Args:
        model_name_or_path: What `load_model` takes: a model that scores single images, such as an encoder.
        tasks: A task, or the weights of several: `{"image-text": 1.0, "quality": 0.5}`.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        reference_key: Under which key the metadata hold the reference image.
        watch: Judges that warn of reward hacking and reward nothing, by name: another `PointwiseReward`, whose own
            judges are not asked, or what `load_model` takes, if the name is a task's: `{"quality": "clip-iqa"}`. One
            warning comes a judge when, over windows of 1024 images and since the window in which the judge stood
            highest, its mean fell and the reward's rose, each by at least 0.25 standard deviations of single images
            and by four standard errors. A `Watch` holds other settings.

    Raises:
        ValueError: If a task does not score images, the model does not score it, or an argument is out of its range;
            the same for a judge, by its name.
        TypeError: If a judge is neither a `PointwiseReward` nor a model.

    Warns:
        UserWarning: In a call after which the reward and a judge have parted.

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
        watch: WatchLike = None,
    ) -> None:
        super().__init__(model_name_or_path, tasks, method, prompts, reference_key, watch)

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
        watch: As for `PointwiseReward`. Win rates have the same mean always, so the reward's rise is that of the scores
            within the groups, weighted; where the model only chooses, a judge's fall alone is enough for a warning.

    Raises:
        ValueError: If a task does not score images, the model does not answer it, or an argument is out of its range;
            the same for a judge, by its name.
        TypeError: If a judge is neither a `PointwiseReward` nor a model.

    Warns:
        UserWarning: In a call after which the reward and a judge have parted.

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
        watch: WatchLike = None,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"Argument `kind` must be one of {get_args(Kind)}, but got {kind!r}.")
        super().__init__(model_name_or_path, tasks, method, prompts, reference_key, watch)
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
            rewards[task] = win_rates(table)[present][back] if self.kind == "win-rate" else scores[task]
        return rewards, scores

    def trend(self, total: Tensor, scores: Mapping[Task, Tensor]) -> Tensor | None:
        """The weighted scores, `[N]`, of the tasks whose scores do not depend on the group; None if there is none."""
        ways = answers_of(self.model)
        alone = [weight * scores[task] for task, weight in self.weights.items() if ways[task] != "choices"]
        return torch.stack(alone).sum(dim=0) if alone else None

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


def as_judge(
    name: str, judge: PointwiseReward | ModelLike, reference_key: str = "reference", argument: str = "watch"
) -> PointwiseReward:
    """What judges images under a name without rewarding them: it scores every image by itself.

    Args:
        name: The judge's name: for a model, that of a task.
        judge: A `PointwiseReward`, or what `load_model` takes.
        reference_key: Under which key the metadata hold the reference image, for a model.
        argument: The name of the argument in messages.

    Raises:
        ValueError: If a model's name is no task's, or the model does not score that task.
        TypeError: If it is another kind of reward.
    """
    if isinstance(judge, PointwiseReward):
        return judge
    if isinstance(judge, UniSimRewardFunction):
        raise TypeError(
            f"Argument `{argument}` must hold a `PointwiseReward` or a model under {name!r}, but got"
            f" {type(judge).__name__}."
        )
    try:
        return PointwiseReward(judge, cast(Task, name), reference_key=reference_key)
    except ValueError as error:
        raise ValueError(
            f"Argument `{argument}` must hold a `PointwiseReward`, or a model for the task that its name says, but what"
            f" stands under {name!r} is none: {error}"
        ) from error
