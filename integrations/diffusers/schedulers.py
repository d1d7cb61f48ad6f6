"""What each scheduler's step says of the predicted image: noise levels, and x0 for every prediction type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DDPMWuerstchenScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    SCMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

# Six families: by the timestep's cumulative α; by σ around an unscaled image; solvers in log-SNR, which keep σ
# but scale the image; straight paths from image to noise; arcs, whose timesteps are angles; α as a function of a
# timestep from 0 to 1.
_COGVIDEOX = (CogVideoXDDIMScheduler, CogVideoXDPMScheduler)
_VARIANCE_PRESERVING = (
    DDIMScheduler,
    DDPMScheduler,
    PNDMScheduler,
    LCMScheduler,
    TCDScheduler,
    *_COGVIDEOX,
)
_VARIANCE_EXPLODING = (
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
)
_SOLVERS = (DPMSolverMultistepScheduler, UniPCMultistepScheduler, DEISMultistepScheduler)
_FLOW = (FlowMatchEulerDiscreteScheduler,)
_ARCS = (SCMScheduler,)
_CONTINUOUS = (DDPMWuerstchenScheduler,)

SCHEDULERS = (*_VARIANCE_PRESERVING, *_VARIANCE_EXPLODING, *_SOLVERS, *_FLOW, *_ARCS, *_CONTINUOUS)
"""The schedulers that can be listened to; their subclasses too."""

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")


@dataclass(frozen=True)
class NoiseLevel:
    """How a sample mixes image and noise: `input_scale` · sample = `signal` · x0 + `noise` · ε.

    Attributes:
        signal: The share of the image.
        noise: The share of the noise.
        input_scale: What the scheduler scales a sample by before the denoiser sees it.
    """

    signal: float
    noise: float
    input_scale: float = 1.0


def check_scheduler(scheduler: Any) -> None:
    """Check that the predicted image can be told from the scheduler's steps.

    Raises:
        ValueError: If it cannot, with the schedulers where it can.
    """
    if not isinstance(scheduler, SCHEDULERS):
        raise ValueError(
            "Argument `pipe` must have a scheduler whose steps tell the predicted image, one of"
            f" {', '.join(kind.__name__ for kind in SCHEDULERS)}, but got {type(scheduler).__name__}. Exchange it:"
            " `pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)`."
        )
    if scheduler.config.get("invert_sigmas", False):
        raise ValueError(
            "Argument `pipe` must have a scheduler that goes from noise to image, but its"
            f" {type(scheduler).__name__} has `invert_sigmas`: score its finished images with"
            " `unisim_metrics.functional.unisim_score`."
        )
    if prediction_type(scheduler) not in PREDICTIONS:
        raise ValueError(
            f"Argument `pipe` must have a scheduler with a prediction type of {PREDICTIONS},"
            f" but got {prediction_type(scheduler)!r}."
        )


def prediction_type(scheduler: Any) -> str:
    """What the denoiser predicts: one of `PREDICTIONS`."""
    if isinstance(scheduler, _FLOW):
        return "flow_prediction"
    if isinstance(scheduler, _ARCS):
        return "v_prediction"
    if isinstance(scheduler, _CONTINUOUS):
        return "epsilon"
    name = str(scheduler.config.prediction_type)
    return "sample" if name == "original_sample" else name


def first_timestep(timestep: Any) -> float:
    """The timestep of a step; some pipelines give one for each sample, all of them equal."""
    return float(torch.as_tensor(timestep).flatten()[0])


def learns_variance(scheduler: Any) -> bool:
    """Whether the denoiser may predict the variance too, in channels after those of its prediction."""
    return isinstance(scheduler, DDPMScheduler) and "learned" in str(scheduler.config.variance_type)


def noise_level(scheduler: Any, timestep: float) -> NoiseLevel:
    """The level at which the denoiser made the prediction of the step just taken.

    Args:
        scheduler: After the step.
        timestep: Of the step.
    """
    if isinstance(scheduler, _VARIANCE_PRESERVING):
        return _preserving(float(scheduler.alphas_cumprod[int(timestep)]))
    if isinstance(scheduler, _CONTINUOUS):
        return _continuous(scheduler, timestep)
    return _level_at(scheduler, scheduler.step_index - 1)


def next_signal(scheduler: Any, timestep: float) -> float:
    """The share of the image in the sample that the step just taken returned, in the sample's own scale."""
    if isinstance(scheduler, _VARIANCE_PRESERVING):
        later = (scheduler.timesteps == int(timestep)).nonzero()[-1, 0] + 1
        if int(later) == len(scheduler.timesteps):
            return 1.0
        return noise_level(scheduler, float(scheduler.timesteps[later])).signal
    if isinstance(scheduler, _CONTINUOUS):
        previous = scheduler.previous_timestep(torch.tensor([timestep], device=scheduler.timesteps.device))
        return _continuous(scheduler, float(previous)).signal
    level = _level_at(scheduler, scheduler.step_index)
    return level.signal / level.input_scale


def predict_x0(sample: Tensor, model_output: Tensor, level: NoiseLevel, prediction: str) -> Tensor:
    """The image that a prediction of the denoiser stands for.

    Args:
        sample: What was denoised, in the scheduler's scale.
        model_output: What the denoiser predicted, after classifier-free guidance.
        level: The noise level of the sample.
        prediction: One of `PREDICTIONS`.

    Returns:
        Latents of the shape of `sample`, float32 (float64 if `sample` is).
    """
    dtype = torch.float64 if sample.dtype == torch.float64 else torch.float32
    sample, model_output = sample.to(dtype) * level.input_scale, model_output.to(dtype)
    if prediction == "epsilon":
        return (sample - level.noise * model_output) / level.signal
    if prediction == "v_prediction":
        return level.signal * sample - level.noise * model_output
    if prediction == "flow_prediction":
        return sample - level.noise * model_output
    return model_output


def limit_x0(scheduler: Any, x0: Tensor) -> Tensor:
    """Clip a predicted image where the scheduler itself does."""
    if scheduler.config.get("thresholding", False):
        limited: Tensor = scheduler._threshold_sample(x0)
        return limited
    # CogVideoX's schedulers have the setting, but do not heed it.
    if scheduler.config.get("clip_sample", False) and not isinstance(scheduler, _COGVIDEOX):
        bound = float(scheduler.config.clip_sample_range)
        return x0.clamp(-bound, bound)
    return x0


def between_stages(scheduler: Any) -> bool:
    """Whether the scheduler is in the middle of a step of several evaluations, and keeps the sample to itself."""
    if isinstance(scheduler, HeunDiscreteScheduler):
        return not scheduler.state_in_first_order
    if isinstance(scheduler, PNDMScheduler):
        stages = len(scheduler.prk_timesteps)
        return bool(scheduler.counter % 4 if scheduler.counter < stages else scheduler.counter == 1)
    return False


def keep_edit(scheduler: Any) -> None:
    """Tell the scheduler that the sample it returned has been changed since."""
    if isinstance(scheduler, UniPCMultistepScheduler):
        # The corrector would make the sample anew from the one before, and the change would be lost.
        scheduler.last_sample = None


def _preserving(alpha: float) -> NoiseLevel:
    return NoiseLevel(alpha**0.5, (1 - alpha) ** 0.5)


def _continuous(scheduler: Any, timestep: float) -> NoiseLevel:
    return _preserving(float(scheduler._alpha_cumprod(torch.tensor([timestep]), torch.device("cpu"))))


def _level_at(scheduler: Any, index: int) -> NoiseLevel:
    if isinstance(scheduler, _ARCS):
        angle = float(scheduler.timesteps[index])
        return NoiseLevel(math.cos(angle), math.sin(angle))
    sigma = float(scheduler.sigmas[index])
    if isinstance(scheduler, _FLOW) and float(scheduler.sigmas.max()) > 1:
        return NoiseLevel(1.0, sigma)  # Cosmos: noise is added to an unscaled image
    if isinstance(scheduler, _FLOW) or scheduler.config.get("use_flow_sigmas", False):
        return NoiseLevel(1 - sigma, sigma)
    level = _preserving(1 / (sigma**2 + 1))
    if isinstance(scheduler, _VARIANCE_EXPLODING):
        return NoiseLevel(level.signal, level.noise, input_scale=level.signal)
    return level
