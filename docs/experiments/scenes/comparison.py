"""The same prompts and seeds unguided, guided, and as the best of N: what is sampled, and how it is scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from unisim_metrics.functional import unisim_score
from unisim_metrics.integrations.diffusers import UniSimGuidanceCallback, UniSimReward, best_of_n
from unisim_metrics.prompts import Wording
from unisim_metrics.tasks import Task as UniSimTask

from .drawing import Scene, caption, draw, random_scene
from .judge import ATTRIBUTES, Judge, object_colour

Reward = Literal["similarity", "alignment", "quality"]
# With which texts the figures of the documentation were measured.
WORDING: Wording = "paper"

_REFERENCES = 30_000_000  # seeds of the reference scenes, which nothing was trained on
_MOST = 10_000  # candidates of a prompt


@dataclass(frozen=True)
class Task:
    """Prompts that leave something open or do not, and a reward that is to be raised.

    Attributes:
        title: Its name in tables.
        reward: The one to raise: similarity to a reference picture, alignment with the prompt, or quality.
        open: The attribute that the prompt leaves open and the reference decides; None if the prompt names all.
    """

    title: str
    reward: Reward
    open: str | None = None

    def prompt(self, scene: Scene) -> str:
        """The prompt for a reference scene."""
        text: str = caption(
            scene.shape,
            None if self.open == "colour" else scene.colour,
            None if self.open == "ground" else scene.ground,
        )
        return text


TASKS = (
    Task("reference decides the colour", "similarity", "colour"),
    Task("reference decides the ground", "similarity", "ground"),
    Task("alignment with the full caption", "alignment"),
    Task("quality", "quality"),
)


@dataclass(frozen=True)
class Settings:
    """How pictures are sampled.

    Attributes:
        seeds: Prompts, each with a reference of its own.
        candidates: N of best-of-N, the largest.
        steps: Sampling steps.
        guidance_scale: Of classifier-free guidance.
        scale: Of the reward guidance, see `UniSimGuidanceCallback`.
        window: The steps that are guided.
        batch: Pictures at a time.
    """

    seeds: int = 64
    candidates: int = 16
    steps: int = 16
    guidance_scale: float = 2.5
    scale: float = 0.1
    window: tuple[float, float] = (0.2, 0.9)
    batch: int = 16


@dataclass(frozen=True)
class Measured:
    """What became of one prompt: the reward, and whether independent judges see what was asked for.

    Attributes:
        reward: The UniSim score that was to be raised.
        asked: Whether the judge sees the attribute that the reference decides; everything, if the prompt does.
        colour: Whether the pixel count finds the colour of the reference.
        kept: Whether the judge sees all that the prompt names.
    """

    reward: float
    asked: bool
    colour: bool
    kept: bool


class Comparison:
    """One task on one pipeline.

    Args:
        pipe: The pipeline.
        task: What is asked for.
        judge: The independent classifier.
        settings: How pictures are sampled.
    """

    def __init__(self, pipe: StableDiffusionPipeline, task: Task, judge: Judge, settings: Settings) -> None:
        self.pipe = pipe
        self.task = task
        self.judge = judge
        self.settings = settings
        self.scenes = [random_scene(_REFERENCES + index) for index in range(settings.seeds)]
        self.references = [draw(scene) for scene in self.scenes]
        self.prompts = [task.prompt(scene) for scene in self.scenes]

    @cached_property
    def candidates(self) -> list[list[Image.Image]]:
        """For each prompt its candidates, in the order of their seeds; the first is the single sample."""
        pools = []
        for index, prompt in enumerate(self.prompts):
            first = index * _MOST
            ranked = best_of_n(
                self.pipe,
                prompt,
                n=self.settings.candidates,
                seed=first,
                batch_size=self.settings.batch,
                **self._ranking(index),
                **self._sampling,
            )
            by_seed = dict(zip(ranked.seeds, ranked.images, strict=True))
            pools.append([by_seed[seed] for seed in sorted(by_seed)])
        return pools

    @cached_property
    def rewards(self) -> list[list[float]]:
        """The reward of every candidate."""
        return [self.reward(pool, [index] * len(pool)) for index, pool in enumerate(self.candidates)]

    @property
    def signature(self) -> str:
        """What makes the reward: model and weights, task, preprocessing, version."""
        signature: str = self._guide([0]).signatures[self.task.reward]
        return signature

    def best_of(self, count: int) -> list[Image.Image]:
        """The candidate of the highest reward among the first `count` of each prompt."""
        return [
            pool[max(range(count), key=rewards.__getitem__)]
            for pool, rewards in zip(self.candidates, self.rewards, strict=True)
        ]

    def searched(self, rounds: int, radius: float) -> list[Image.Image]:
        """The best picture of a search for each prompt, at the cost of all its candidates.

        Args:
            rounds: How many rounds a search has; its first makes the first candidates.
            radius: Of the neighbourhoods.
        """
        count = self.settings.candidates // rounds
        return [
            best_of_n(
                self.pipe,
                prompt,
                n=count,
                seed=index * _MOST,
                batch_size=min(count, self.settings.batch),
                search="zero-order",
                rounds=rounds,
                radius=radius,
                **self._ranking(index),
                **self._sampling,
            ).best
            for index, prompt in enumerate(self.prompts)
        ]

    def guided(self, **options: Any) -> list[Image.Image]:
        """One picture a prompt from the noise of its single sample, guided by the reward."""
        pictures: list[Image.Image] = []
        for rows in self._batches():
            callback = UniSimGuidanceCallback(
                self.pipe,
                self._guide(rows),
                **{"scale": self.settings.scale, "window": self.settings.window, **options},
            )
            with callback:
                pictures += self.pipe(
                    [self.prompts[row] for row in rows],
                    generator=[torch.Generator().manual_seed(row * _MOST) for row in rows],
                    callback_on_step_end=callback,
                    **self._sampling,
                ).images
        return pictures

    def measure(self, pictures: Sequence[Image.Image]) -> list[Measured]:
        """Measure one picture a prompt."""
        rewards = self.reward(pictures, range(len(pictures)))
        told = self.judge.describe(pictures)
        measured = []
        for index, scene in enumerate(self.scenes):
            right = {name: told[index][name] == getattr(scene, name) for name in ATTRIBUTES}
            kept = all(value for name, value in right.items() if name != self.task.open)
            measured.append(
                Measured(
                    reward=rewards[index],
                    asked=kept if self.task.open is None else right[self.task.open],
                    colour=object_colour(pictures[index]) == scene.colour,
                    kept=kept,
                )
            )
        return measured

    def reward(self, pictures: Sequence[Image.Image], rows: Sequence[int]) -> list[float]:
        """The UniSim score that is to be raised, of pictures of some of the prompts."""
        target: Any = None
        if self.task.reward == "similarity":
            target = [self.references[row] for row in rows]
        elif self.task.reward == "alignment":
            target = [self.prompts[row] for row in rows]
        names: dict[Reward, UniSimTask] = {
            "similarity": "image-image",
            "alignment": "image-text",
            "quality": "quality",
        }
        scores = unisim_score(
            list(pictures), target, task=names[self.task.reward], prompts=WORDING, reduction="none"
        )
        return [float(score) for score in scores]

    @property
    def _sampling(self) -> dict[str, Any]:
        return {
            "num_inference_steps": self.settings.steps,
            "guidance_scale": self.settings.guidance_scale,
        }

    def _ranking(self, row: int) -> dict[str, Any]:
        if self.task.reward == "similarity":
            return {"reference": self.references[row]}
        return {"task": "quality", "prompts": WORDING} if self.task.reward == "quality" else {}

    def _guide(self, rows: Sequence[int]) -> UniSimReward:
        if self.task.reward == "similarity":
            return UniSimReward(reference=[self.references[row] for row in rows])
        if self.task.reward == "alignment":
            return UniSimReward([self.prompts[row] for row in rows])
        return UniSimReward(quality=1.0, prompts=WORDING)

    def _batches(self) -> Iterator[list[int]]:
        for first in range(0, self.settings.seeds, self.settings.batch):
            yield list(range(first, min(first + self.settings.batch, self.settings.seeds)))
