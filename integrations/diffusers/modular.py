"""Scores and guidance inside modular pipelines: blocks that stand around the steps of a denoising loop.

A modular pipeline takes no callback. What happens in a step is the work of the blocks of its loop, so that what is to
happen beside it is a block too: it hears the scheduler while the others work, as a callback does in a plain pipeline,
and hands its results to the pipeline's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy, deepcopy
from typing import Any, ClassVar, NamedTuple

import torch
from diffusers import ModularPipelineBlocks
from diffusers.modular_pipelines import LoopSequentialPipelineBlocks
from diffusers.modular_pipelines.modular_pipeline_utils import InputParam, InsertableDict, OutputParam
from torch import Tensor

from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task

from .augmentation import Augmentation
from .callback import UniSimCallback
from .guidance import Schedule, UniSimGuidanceCallback, check_guidance
from .rewards import UniSimReward
from .schedulers import check_scheduler
from .scoring import UniSimScoreCallback
from .targets import Target

PIPELINES = (
    "Flux2ModularPipeline",
    "FluxModularPipeline",
    "Krea2ModularPipeline",
    "QwenImageModularPipeline",
    "StableDiffusion3ModularPipeline",
    "StableDiffusionXLModularPipeline",
    "ZImageModularPipeline",
)
"""By the name of the class, so that no version of diffusers need have them all; subclasses are of their kind."""


class Result(NamedTuple):
    """What a block adds to the state of a pipeline.

    Attributes:
        name: In the state.
        attribute: Of the callback that has it.
        kind: Its type.
        description: What it is.
    """

    name: str
    attribute: str
    kind: type
    description: str


class _InLoop(UniSimCallback):
    """A callback that a block of a loop asks, which tells it what a plain pipeline tells by its attributes."""

    count: int
    pasting: bool

    def check_pipeline(self, pipe: Any) -> None:
        if not any(kind.__name__ in PIPELINES for kind in type(pipe).__mro__):
            raise ValueError(
                "The block must be in a modular pipeline for images whose steps are known, one of"
                f" {', '.join(PIPELINES)}, but is in a {type(pipe).__name__}: score its finished images with"
                " `unisim_metrics.functional.unisim_score`."
            )
        check_scheduler(pipe.scheduler)

    @property
    def pastes_back(self) -> bool:
        return self.pasting

    @property
    def steps_in_run(self) -> int:
        return self.count


class _Scoring(_InLoop, UniSimScoreCallback):
    pass


class _Guidance(_InLoop, UniSimGuidanceCallback):
    pass


class UniSimBlock(ModularPipelineBlocks):  # type: ignore[misc]
    """A block around the steps of a denoising loop; not to be used by itself.

    It holds no state of a run: that stands in the loop's own state, and the results in the pipeline's.
    """

    name: ClassVar[str]

    def results(self) -> list[Result]:
        """What the block adds to the state of the pipeline."""
        raise NotImplementedError

    def begin(self, pipe: Any) -> _InLoop:
        """What works on the steps of one run."""
        raise NotImplementedError

    @property
    def inputs(self) -> list[Any]:
        """What the steps need, and the size of the pictures."""
        found: list[Any] = []
        made: set[str] = set()
        for block in self.sub_blocks.values():
            found += [item for item in block.inputs if item.name not in made and item not in found]
            made.update(item.name for item in block.intermediate_outputs)
        known = {item.name for item in found}
        return found + [InputParam(name) for name in ("height", "width") if name not in known]

    @property
    def intermediate_outputs(self) -> list[Any]:
        """What the steps give, and the results."""
        given = {item.name: item for block in self.sub_blocks.values() for item in block.intermediate_outputs}
        added = [OutputParam(item.name, item.kind, item.description) for item in self.results()]
        return [*given.values(), *added]

    @property
    def expected_components(self) -> list[Any]:
        """What the steps need."""
        return _together(block.expected_components for block in self.sub_blocks.values())

    @property
    def expected_configs(self) -> list[Any]:
        """What the steps need."""
        return _together(block.expected_configs for block in self.sub_blocks.values())

    def around(self, blocks: ModularPipelineBlocks) -> ModularPipelineBlocks:
        """Put the block around the steps of every denoising loop.

        Args:
            blocks: The blocks of a pipeline, or a loop alone.

        Returns:
            A copy of the blocks with this one in their loops.

        Raises:
            TypeError: If `blocks` are none of diffusers.
            ValueError: If there is no denoising loop among them, or one that keeps what other blocks find to itself.
        """
        if not isinstance(blocks, ModularPipelineBlocks):
            raise TypeError(
                f"Argument `blocks` must be `ModularPipelineBlocks`, but got {type(blocks).__name__}: of a pipeline"
                " they are `pipe.blocks`."
            )
        # diffusers shares some loops among all pipelines of a kind.
        blocks = deepcopy(blocks)
        loops = list(_loops(blocks))
        if not loops:
            raise ValueError(
                f"Argument `blocks` must hold a denoising loop (`LoopSequentialPipelineBlocks` whose steps use a"
                f" scheduler), but there is none in {type(blocks).__name__}."
            )
        for loop in loops:
            block = copy(self)
            block.sub_blocks = loop.sub_blocks
            loop.sub_blocks = InsertableDict({self.name: block})
            if not {result.name for result in self.results()} <= set(loop.intermediate_output_names):
                raise ValueError(
                    "Argument `blocks` must hold loops that hand on what their blocks add, but"
                    f" {type(loop).__name__} hands on {loop.intermediate_output_names} alone: use the plain pipeline of"
                    " its family with a callback."
                )
        return blocks

    def __deepcopy__(self, memo: dict[int, Any]) -> UniSimBlock:
        # A pipeline copies its blocks: models and targets are the same in all copies.
        other = copy(self)
        other.sub_blocks = deepcopy(self.sub_blocks, memo)
        return other

    @torch.no_grad()
    def __call__(self, components: Any, block_state: Any, **place: Any) -> tuple[Any, Any]:
        """Let the steps work, and look at what they did."""
        if not self.sub_blocks or "i" not in place:
            raise ValueError(
                f"`{type(self).__name__}` must stand around the steps of a denoising loop: put it there by"
                " `blocks = block.around(blocks)`."
            )
        run = getattr(block_state, f"_{self.name}", None)
        if run is None:
            run = self._begin(components, block_state)
        block_state.unisim_made = None
        with run.recorder:
            for block in self.sub_blocks.values():
                components, block_state = block(components, block_state, **place)
            step = run.recorder.last
            if step is None:
                raise ValueError(
                    f"`{type(self).__name__}` must stand around the steps of a denoising loop, but none of"
                    f" {', '.join(self.sub_blocks)} called the scheduler's `step`."
                )
            # A block within this one may have moved the latents.
            made = block_state.latents if block_state.unisim_made is None else block_state.unisim_made
            changed = run.after_step(place["i"], step, block_state.latents, made)
        if changed is not None:
            block_state.latents, block_state.unisim_made = changed, made
        for result in self.results():
            setattr(block_state, result.name, getattr(run, result.attribute))
        return components, block_state

    def _begin(self, pipe: Any, block_state: Any) -> _InLoop:
        run = self.begin(pipe)
        run.count = len(block_state.timesteps)
        run.pasting = getattr(block_state, "mask", None) is not None
        height, width = block_state.height, block_state.width
        run.recorder.size = None if height is None or width is None else (height, width)
        setattr(block_state, f"_{self.name}", run)
        return run


class UniSimScoreBlock(UniSimBlock):
    """Score the predicted image of a running modular pipeline after each step.

    It does in a modular pipeline what `UniSimScoreCallback` does in a plain one: the images stay what they are, to the
    bit. The results are in the pipeline's state: `unisim_scores` `[steps, images]`, `unisim_steps`, and
    `unisim_previews` with `keep_previews`.

    Args:
        target: Texts or images, one for all images of the batch or one for each prompt; None for quality and
            attributes.
        model_name_or_path: What `load_model` takes: a model that scores single pictures, such as an encoder.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        steps: The steps after which to score, negative ones from the end; all if None.
        keep_previews: Whether the previews are kept as pictures.
        vae: Another autoencoder for previews, such as an `AutoencoderTiny`; the pipeline's own if None.

    Raises:
        TypeError: If the target is neither image nor text.
        ValueError: If the target does not fit the task or the model. When the pipeline runs, if it is one whose steps
            are not known, with the way out.

    Examples:
        ```python
        from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks
        from unisim_metrics.integrations.diffusers import UniSimScoreBlock

        prompt = "a red fox in the snow"
        blocks = UniSimScoreBlock(prompt).around(StableDiffusionXLAutoBlocks())
        pipe = blocks.init_pipeline("stabilityai/stable-diffusion-xl-base-1.0")
        pipe.load_components()
        made = pipe(prompt=prompt, output=["images", "unisim_scores"])
        made["unisim_scores"]  # [steps, images]
        ```
    """

    name = "unisim_score"

    def __init__(
        self,
        target: Any = None,
        *,
        model_name_or_path: ModelLike = "unisim-mini",
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        steps: Sequence[int] | None = None,
        keep_previews: bool = False,
        vae: Any = None,
    ) -> None:
        super().__init__()
        model = as_model(model_name_or_path)
        self.target = Target(model, target, task, method, prompts)
        self.keep_previews = keep_previews
        self._settings: dict[str, Any] = {"model_name_or_path": model, "steps": steps, "vae": vae}

    @property
    def description(self) -> str:
        """What diffusers says of the block."""
        return "Scores the predicted image after each step of the denoising loop."

    @property
    def signature(self) -> str:
        """What makes the scores: model and weights, task, prompts, preprocessing, version."""
        return self.target.signature

    def results(self) -> list[Result]:
        """What the block adds to the state of the pipeline."""
        results = [
            Result("unisim_scores", "scores", Tensor, "scores [steps, images]"),
            Result("unisim_steps", "steps", list, "the steps that were scored"),
            Result("unisim_previews", "previews", list, "pictures of the scored steps"),
        ]
        return results if self.keep_previews else results[:2]

    def begin(self, pipe: Any) -> _InLoop:
        """What scores the steps of one run."""
        return _Scoring(pipe, self.target, keep_previews=self.keep_previews, **self._settings)


class UniSimGuidanceBlock(UniSimBlock):
    """Guide a running modular pipeline towards a higher reward.

    It does in a modular pipeline what `UniSimGuidanceCallback` does in a plain one, where its arguments are explained.
    The results are in the pipeline's state: `unisim_rewards` `[guided steps, images]` before each move, and
    `unisim_guided_steps`.

    Args:
        reward: What to raise; texts stand for their alignment.
        scale: How far an inner step moves the predicted image, as a share of its own root mean square.
        window: The steps that are guided, from and to which share of them.
        schedule: How the scale changes over the window.
        inner_steps: Gradient steps after each sampling step.
        through_denoiser: Whether the gradient passes the denoiser.
        augmentation: The views that the reward is averaged over; None takes the picture alone.
        checkpointing: Whether activations are computed again in the backward pass rather than kept.
        vae: Another autoencoder for the previews; the pipeline's own if None.

    Raises:
        ValueError: If an argument is out of its range. When the pipeline runs, if it is one whose steps are not known,
            or cannot be guided so, with the way out.

    Examples:
        ```python
        from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks
        from unisim_metrics.integrations.diffusers import UniSimGuidanceBlock

        prompt = "a red fox in the snow"
        blocks = UniSimGuidanceBlock(prompt, scale=0.1).around(StableDiffusionXLAutoBlocks())
        pipe = blocks.init_pipeline("stabilityai/stable-diffusion-xl-base-1.0")
        pipe.load_components()
        images = pipe(prompt=prompt, output="images")
        ```
    """

    name = "unisim_guidance"

    def __init__(
        self,
        reward: UniSimReward | str | Sequence[str],
        *,
        scale: float = 0.1,
        window: tuple[float, float] = (0.4, 0.95),
        schedule: Schedule | Callable[[float], float] = "constant",
        inner_steps: int = 1,
        through_denoiser: bool = False,
        augmentation: Augmentation | None = None,
        checkpointing: bool = False,
        vae: Any = None,
    ) -> None:
        super().__init__()
        check_guidance(window, schedule, inner_steps)
        self.reward = reward if isinstance(reward, UniSimReward) else UniSimReward(reward)
        self._settings: dict[str, Any] = {
            "scale": scale,
            "window": window,
            "schedule": schedule,
            "inner_steps": inner_steps,
            "through_denoiser": through_denoiser,
            "augmentation": augmentation,
            "checkpointing": checkpointing,
            "vae": vae,
        }

    @property
    def description(self) -> str:
        """What diffusers says of the block."""
        return "Moves the latents towards a higher reward after each step of the denoising loop."

    def results(self) -> list[Result]:
        """What the block adds to the state of the pipeline."""
        return [
            Result("unisim_rewards", "rewards", Tensor, "rewards [guided steps, images], before each move"),
            Result("unisim_guided_steps", "steps", list, "the steps that were guided"),
        ]

    def begin(self, pipe: Any) -> _InLoop:
        """What guides the steps of one run."""
        return _Guidance(pipe, self.reward, **self._settings)


def _loops(blocks: ModularPipelineBlocks) -> Iterator[LoopSequentialPipelineBlocks]:
    """The loops whose steps use a scheduler."""
    if isinstance(blocks, LoopSequentialPipelineBlocks):
        if "scheduler" in blocks.component_names:
            yield blocks
        return
    for block in blocks.sub_blocks.values():
        yield from _loops(block)


def _together(lists: Iterable[Iterable[Any]]) -> list[Any]:
    """All items of some lists once."""
    together: list[Any] = []
    for items in lists:
        together += [item for item in items if item not in together]
    return together
