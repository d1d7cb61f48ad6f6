"""Reward-guided generation: the latents follow the gradient of the UniSim score of the predicted image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast, get_args

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from .augmentation import Augmentation
from .callback import UniSimCallback
from .components import denoiser
from .gradients import Replay, gradients, padded, rms, unit, usable
from .previews import Step
from .rewards import UniSimReward
from .schedulers import between_stages, keep_edit

Schedule = Literal["constant", "linear", "cosine"]
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
}


class UniSimGuidanceCallback(UniSimCallback):
    """Guide a running pipeline towards a higher reward.

    After each step of the window the predicted image is decoded and rewarded, and moved along the gradient of
    its reward, each image of the batch by the same share of its own size. The latents follow by as much of the
    move as they hold of the image; their noise stays (as in universal guidance, Bansal et al. 2023). With
    `through_denoiser` the gradient is taken with respect to the latents before the step, through the denoiser
    (as in FreeDoM, Yu et al. 2023): truer, and as dear in time and memory as a training step.

    Early previews are blurred means, on which rewards that know finished images mislead; a move after the last
    step is never denoised, and the shortest way to a pattern that pleases the model alone. The default window
    leaves both out.

    Args:
        pipe: The pipeline that will be called.
        reward: What to raise; texts stand for their alignment.
        scale: How far an inner step moves the predicted image, as a share of its own root mean square. With 0
            the images stay what they are, to the bit.
        window: The steps that are guided, from and to which share of them.
        schedule: How the scale changes over the window: `"constant"`, `"linear"` or `"cosine"` (both down to 0),
            or a function of the progress from 0 to 1.
        inner_steps: Gradient steps after each sampling step.
        through_denoiser: Whether the gradient passes the denoiser.
        augmentation: The views that the reward is averaged over; None takes the picture alone.
        checkpointing: Whether activations are computed again in the backward pass rather than kept.
        vae: Another autoencoder for the previews, such as an `AutoencoderTiny`; the pipeline's own if None.

    Attributes:
        steps: The steps that were guided.

    Raises:
        TypeError: If `pipe` is no pipeline of diffusers.
        ValueError: If the pipeline or the model cannot serve, with the way out.

    Examples:
        ```python
        from diffusers import DiffusionPipeline
        from unisim_metrics.integrations.diffusers import UniSimGuidanceCallback

        pipe = DiffusionPipeline.from_pretrained("stabilityai/stable-diffusion-xl-base-1.0")
        prompt = "a red fox in the snow"
        with UniSimGuidanceCallback(pipe, prompt) as callback:
            images = pipe(prompt, callback_on_step_end=callback).images
        callback.rewards  # [guided steps, images], before each move
        ```
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
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
        super().__init__(pipe, vae, keep_calls=through_denoiser)
        check_guidance(window, schedule, inner_steps)
        if through_denoiser and denoiser(pipe) is None:
            raise ValueError(
                f"Argument `through_denoiser` must be False for {type(pipe).__name__}, whose denoiser is no module of"
                " torch."
            )
        self.reward = reward if isinstance(reward, UniSimReward) else UniSimReward(reward)
        self.scale = scale
        self.window = window
        self.schedule = schedule if callable(schedule) else _SCHEDULES[schedule]
        self.inner_steps = inner_steps
        self.through_denoiser = through_denoiser
        self.augmentation = augmentation
        self.checkpointing = checkpointing
        self.reset()

    @property
    def rewards(self) -> Tensor:
        """Rewards `[S, B]` of the predicted images of the guided steps before their move, float32 on the CPU."""
        return torch.stack(self._rewards) if self._rewards else torch.empty(0, 0)

    def reset(self) -> None:
        """Forget the sampling run before."""
        self.steps: list[int] = []
        self._rewards: list[Tensor] = []

    def check_batch(self, batch: int) -> None:
        """Check, before the first step, that a batch of so many images can be rewarded."""
        self.reward.check(batch)

    def after_step(self, index: int, step: Step, latents: Tensor, made: Tensor) -> Tensor | None:
        """Move the latents if the step is one to guide."""
        count = self.steps_in_run
        if index == 0 and self.through_denoiser:
            # What does not allow it is told at once, not at the first step of the window.
            Replay(step, cast(nn.Module, denoiser(self.pipe)))
        scale = self.scale_at(index, count)
        # What is given back between two stages the scheduler looks at, but never goes on from.
        if scale == 0 or (between_stages(step.scheduler) and index < count - 1):
            return None
        modules = cast("list[nn.Module]", [self.decoder.vae, denoiser(self.pipe)])
        with (
            gradients(*modules[: 1 + self.through_denoiser], checkpointing=self.checkpointing),
            self.recorder.deaf(),
        ):
            move = self._move(index, step, scale) * step.next_signal()
            if self.pastes_back:
                move = move * _free(made, step.result)
            guided: Tensor = (usable(latents) + padded(move, latents).to(latents.device)).to(latents.dtype)
        self.steps.append(index)
        keep_edit(step.scheduler)
        return guided

    def scale_at(self, index: int, count: int) -> float:
        """The scale after step `index` of `count`; 0 outside the window."""
        start, stop = (int(share * count) for share in self.window)
        stop = max(stop, start + 1)
        if not start <= index < stop:
            return 0.0
        return self.scale * self.schedule((index - start) / (stop - start))

    def _move(self, index: int, step: Step, scale: float) -> Tensor:
        """How the predicted image is to move, of the shape of the latents."""
        x0 = step.x0_from(usable(step.sample), usable(step.model_output))
        length = scale * rms(x0)
        signal = step.level.signal / step.level.input_scale
        replay = Replay(step, cast(nn.Module, denoiser(self.pipe))) if self.through_denoiser else None
        move = torch.zeros_like(x0)
        for inner in range(self.inner_steps):
            if replay is None:
                moved = x0 + move
            elif inner == 0:
                moved = x0
            else:
                with torch.no_grad():
                    moved = replay.x0(move * signal)
            direction, rewards = self._ascent(step, moved, index * self.inner_steps + inner)
            if inner == 0:
                self._rewards.append(rewards)
            if replay is not None:
                # The graphs of autoencoder and denoiser never stand in memory together, and neither has to stay
                # on the device for the other's backward pass where models are offloaded.
                leaf = (move * signal).requires_grad_()
                (direction,) = torch.autograd.grad(replay.x0(leaf), leaf, direction)
                direction = unit(direction)
            move = move + length * direction
        return move

    def _ascent(self, step: Step, x0: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """The direction in which the reward of decoded latents rises, of unit size for each; and the rewards."""
        x0 = x0.detach().requires_grad_()
        with self.decoder.precision():
            decoded = self.decoder.preview(step, x0)
            pictures = decoded.detach().requires_grad_()
            views = [pictures] if self.augmentation is None else self.augmentation(pictures, number)
            gradient, total, count = torch.zeros_like(pictures), torch.zeros(len(x0)), 0
            for view in views:
                rewards = self.reward(view)
                gradient += torch.autograd.grad(rewards.sum(), pictures)[0]
                total += rewards.detach().cpu()
                count += 1
            # Of unit size before it passes the autoencoder too: in float16 it would vanish there.
            (direction,) = torch.autograd.grad(decoded, x0, unit(gradient))
        return unit(direction), total / count


def check_guidance(
    window: tuple[float, float], schedule: Schedule | Callable[[float], float], inner_steps: int
) -> None:
    """Check arguments of `UniSimGuidanceCallback` that need no pipeline.

    Raises:
        ValueError: If one is out of its range.
    """
    start, stop = window
    if not 0 <= start < stop <= 1:
        raise ValueError(f"Argument `window` must be two rising shares of the steps, but got {window}.")
    if not callable(schedule) and schedule not in _SCHEDULES:
        raise ValueError(
            f"Argument `schedule` must be one of {get_args(Schedule)} or a function, but got {schedule!r}."
        )
    if inner_steps < 1:
        raise ValueError(f"Argument `inner_steps` must be at least 1, but got {inner_steps}.")


def _free(made: Tensor, result: Tensor) -> Tensor:
    """Where the pipeline left the latents as the scheduler made them: not in the part that inpainting keeps.

    Raises:
        ValueError: If that is nowhere.
    """
    if made is result or made.shape != result.shape:
        return torch.ones_like(result)
    free: Tensor = usable(made) == usable(result)
    if not bool(free.any()):
        raise ValueError(
            "There is nothing to guide: the mask of inpainting keeps everything, or a callback of another library moved"
            " the latents first. Call that one last."
        )
    return free
