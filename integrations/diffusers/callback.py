"""What both callbacks share: listening to a pipeline while entered, and the checks before it runs."""

from __future__ import annotations

import inspect
import warnings
from contextlib import ExitStack
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import PipelineCallback
from torch import Tensor
from typing_extensions import Self

from .components import autoencoder, denoiser
from .families import Size
from .latents import LatentDecoder
from .listening import wrapped
from .previews import Step, StepRecorder
from .sampling import check_makes_images
from .schedulers import check_scheduler

# Of each running pipeline the result of the scheduler's last step, and the latents that its first callback then got.
_MADE: WeakKeyDictionary[DiffusionPipeline, tuple[Tensor, Tensor]] = WeakKeyDictionary()


class UniSimCallback(PipelineCallback):  # type: ignore[misc]
    """A callback that knows the predicted image of every step; not to be used by itself.

    Args:
        pipe: The pipeline that will be called.
        vae: Another autoencoder for previews; the pipeline's own if None.
        keep_calls: Whether the passes of the denoiser are recorded.

    Raises:
        TypeError: If `pipe` is no pipeline of diffusers.
        ValueError: If it makes no images, has no autoencoder, or a scheduler that tells no predicted image.
    """

    def __init__(self, pipe: DiffusionPipeline, vae: Any = None, keep_calls: bool = False) -> None:
        super().__init__()
        self.check_pipeline(pipe)
        self.pipe = pipe
        self.decoder = LatentDecoder(pipe, vae)
        self.recorder = StepRecorder(pipe, keep_calls, self._check_latents)
        self._undo: ExitStack | None = None
        self._called = False
        self._stepped = False

    @property
    def tensor_inputs(self) -> list[str]:
        """What the pipeline passes to the callback; one that knows `PipelineCallback` asks before the first step."""
        self._check_entered()
        return ["latents"]

    def __enter__(self) -> Self:
        if self._undo is not None:
            raise ValueError(f"`{type(self).__name__}` is already listening: a `with` must not be nested.")
        self.check_pipeline(self.pipe)
        self._called = self._stepped = False
        with ExitStack() as undo:
            undo.enter_context(self.recorder)
            if hasattr(self.pipe, "check_inputs"):
                undo.enter_context(wrapped(self.pipe, "check_inputs", self._check_arguments))
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        undo, self._undo = cast(ExitStack, self._undo), None
        undo.close()
        _MADE.pop(self.pipe, None)
        if kind is None and self._stepped and not self._called:
            warnings.warn(
                f"The pipeline ran, but never called its `{type(self).__name__}`: pass"
                " `callback_on_step_end=callback`.",
                UserWarning,
                stacklevel=2,
            )

    def callback_fn(
        self, pipeline: DiffusionPipeline, step_index: int, timesteps: Any, callback_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """What the pipeline calls after each step."""
        self._check_entered()
        step = self.recorder.last
        if pipeline is not self.pipe or step is None:
            raise ValueError(
                f"`{type(self).__name__}` was made for another pipeline or scheduler than the one that calls it:"
                " make one for each pipeline, after its scheduler is set."
            )
        if "latents" not in callback_kwargs:
            raise _missing_latents(list(callback_kwargs))
        if step_index == 0:
            self.reset()
        self._called = True
        latents = callback_kwargs["latents"]
        changed = self.after_step(step_index, step, latents, _as_made(pipeline, step, latents))
        if changed is None:
            return callback_kwargs
        if self.decoder.family.deaf:
            latents.copy_(changed)
            return callback_kwargs
        return {**callback_kwargs, "latents": changed}

    def reset(self) -> None:
        """Forget the sampling run before."""
        raise NotImplementedError

    def after_step(self, index: int, step: Step, latents: Tensor, made: Tensor) -> Tensor | None:
        """Work on a step.

        Args:
            index: Its number, from 0.
            step: What the scheduler did.
            latents: The latents after the step, as callbacks before this one left them.
            made: The latents as the pipeline made them: what the scheduler did, and what inpainting pasted.

        Returns:
            Other latents, or None to leave them as they are.
        """
        raise NotImplementedError

    def check_batch(self, batch: int) -> None:
        """Check, before the first step, that a batch of so many images can be scored."""
        raise NotImplementedError

    def check_pipeline(self, pipe: Any) -> None:
        """Check that the predicted images of a pipeline can be heard, and decoded; see the function."""
        check_pipeline(pipe)

    @property
    def pastes_back(self) -> bool:
        """Whether the running pipeline overwrites a part of the latents after every step."""
        return pastes_back(self.pipe)

    @property
    def steps_in_run(self) -> int:
        """How many steps the running pipeline takes."""
        return steps_in_run(self.pipe)

    def _check_entered(self) -> None:
        if self._undo is None:
            raise ValueError(
                f"`{type(self).__name__}` must listen before the pipeline starts:"
                " `with callback: pipe(..., callback_on_step_end=callback)`."
            )

    def _check_latents(self, latents: Tensor, size: Size | None) -> None:
        self._stepped = True
        self.decoder.check(latents, size)
        self.check_batch(len(latents))

    def _check_arguments(self, arguments: dict[str, Any]) -> None:
        inputs = arguments.get("callback_on_step_end_tensor_inputs")
        if inputs is not None and "latents" not in inputs:
            raise _missing_latents(inputs)


def _as_made(pipe: DiffusionPipeline, step: Step, latents: Tensor) -> Tensor:
    """The latents as the pipeline made them, which a callback before this one may have moved."""
    result, made = _MADE.get(pipe, (None, latents))
    if result is not step.result:
        made = latents
        _MADE[pipe] = (step.result, made)
    return made


def _missing_latents(inputs: list[str]) -> ValueError:
    return ValueError(
        "Argument `callback_on_step_end_tensor_inputs` must contain 'latents' for a UniSim callback,"
        f" but got {inputs}: leave it out, or pass `callback_on_step_end_tensor_inputs=['latents']`."
    )


def check_pipeline(pipe: Any) -> None:
    """Check that a pipeline makes images step by step from latents, and calls back after each.

    Raises:
        TypeError: If it is no pipeline of diffusers.
        ValueError: If it makes videos, takes no callback, or has a scheduler that tells no predicted image.
    """
    check_makes_images(pipe)
    name = type(pipe).__name__
    if "callback_on_step_end" not in inspect.signature(type(pipe).__call__).parameters:
        raise ValueError(
            f"Argument `pipe` must be a pipeline that takes `callback_on_step_end`, but {name} does not:"
            " score its finished images with `unisim_metrics.functional.unisim_score`."
        )
    inputs = getattr(pipe, "_callback_tensor_inputs", [])
    if "latents" not in inputs:
        raise ValueError(
            f"Argument `pipe` must be a pipeline that passes `latents` to its callback, but {name} passes"
            f" {inputs}: score its finished images with `unisim_metrics.functional.unisim_score`."
        )
    check_scheduler(pipe.scheduler)


def steps_in_run(pipe: DiffusionPipeline) -> int:
    """How many steps a running pipeline takes."""
    count = getattr(pipe, "num_timesteps", None)
    return len(pipe.scheduler.timesteps) if count is None else int(count)


# Inpainting that leaves the whole picture to its ControlNet.
_NOT_PASTED = (
    "QwenImageControlNetInpaint",
    "StableDiffusion3ControlNetInpaint",
    "ZImageControlNetInpaint",
)


def pastes_back(pipe: DiffusionPipeline) -> bool:
    """Whether the pipeline overwrites a part of the latents after every step: inpainting by a model not made for it."""
    name = type(pipe).__name__
    if "Inpaint" not in name or name.startswith(_NOT_PASTED):
        return False
    if name.startswith("KandinskyV22"):
        return True  # though its denoiser is made for it
    config = getattr(denoiser(pipe), "config", {})
    # A denoiser made for it gets the mask too, and the masked picture.
    return bool(config.get("in_channels") != 2 * autoencoder(pipe).config.get("latent_channels", 0) + 1)


def predicted(step: Step, made: Tensor, last: bool) -> Tensor:
    """The predicted image of a step as the pipeline would finish it.

    Args:
        step: The step.
        made: What the pipeline made of its result: inpainting pastes the kept part of the picture into it.
        last: Whether it is the last step, after which what was pasted is the picture itself, without noise.
    """
    x0 = step.x0()
    if not last or made is step.result or made.shape != step.result.shape:
        return x0
    return torch.where(made == step.result.to(made.dtype), x0, made.to(x0.dtype))
