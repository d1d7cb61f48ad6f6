"""Fine-tune the model of `train.py` on a reward by group-relative policy optimisation, and validate it on the way.

    python -m docs.experiments.scenes.grpo --model scenes/pipeline --out scenes/grpo

The policy is the sampler of DDIM with its noise (eta = 1), as in DDPO (Black et al. 2023); advantages are those of a
group of pictures of one prompt, as in Flow-GRPO (Liu et al. 2025). The reward is who wins within the group by
similarity to a reference with a purple object, `GroupwiseReward`; quality, as `unisim-mini` sees it, watches and
rewards nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from unisim_metrics.integrations.rewards import GroupwiseReward
from unisim_metrics.integrations.watching import Watch

from .finetuning import FineTuning, embed_prompts, fine_tune, wanted_scenes


@dataclass(frozen=True)
class Settings:
    """What is done.

    Attributes:
        iterations: Each samples groups of pictures, and learns from their steps, an update of the weights a step.
        every: Iterations from one validation to the next.
        prompts: Groups of an iteration.
        group: Pictures of a group.
        sampling_steps: Of a picture, in training.
        rank: Of the LoRA.
        learning_rate: Of AdamW.
        clip: How far the ratio of probabilities may leave 1.
        window: Pictures of a window of the watch.
        seed: Of all that is drawn.
    """

    iterations: int = 60
    every: int = 10
    prompts: int = 15
    group: int = 8
    sampling_steps: int = 5
    rank: int = 8
    learning_rate: float = 1e-3
    clip: float = 5e-3
    window: int = 256
    seed: int = 0


class Step(NamedTuple):
    """A step of the sampler: the latents before and after it, its time, and the log-probability of each move, `[N]`."""

    before: Tensor
    after: Tensor
    time: Tensor
    log_probability: Tensor


def move(
    pipe: StableDiffusionPipeline, latents: Tensor, texts: Tensor, time: Tensor, after: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Take a step of DDIM with eta = 1 (Song et al. 2021, equation 16), or say how probable one was.

    Args:
        pipe: The pipeline, whose scheduler has its steps set and predicts velocities.
        latents: Before the step, `[N, C, h, w]`.
        texts: The hidden states of the prompts, `[N, tokens, width]`.
        time: The time of the step.
        after: Where the step went; drawn if None.

    Returns:
        The latents after the step, and their log-probability `[N]`: a mean over pixels, but for a constant.
    """
    scheduler = pipe.scheduler
    interval = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    signal = scheduler.alphas_cumprod[time]
    # All but the last step leave some noise.
    signal_after = scheduler.alphas_cumprod[max(int(time) - interval, 0)]
    velocity = pipe.unet(latents, time, texts).sample
    clean = signal.sqrt() * latents - (1 - signal).sqrt() * velocity
    noise = signal.sqrt() * velocity + (1 - signal).sqrt() * latents
    variance = (1 - signal_after) / (1 - signal) * (1 - signal / signal_after)
    mean = signal_after.sqrt() * clean + (1 - signal_after - variance).clamp(min=0).sqrt() * noise
    if after is None:
        after = mean + variance.sqrt() * torch.randn(mean.shape)
    distance = (after - mean).square() / (2 * variance)
    return after, -distance.mean(dim=(1, 2, 3))


@torch.no_grad()
def sample(pipe: StableDiffusionPipeline, texts: Tensor, steps: int) -> tuple[Tensor, list[Step]]:
    """Sample pictures `[N, 3, 64, 64]` in [0, 1], and keep the steps that led to them."""
    pipe.scheduler.set_timesteps(steps)
    config = pipe.unet.config
    latents = torch.randn(len(texts), config.in_channels, config.sample_size, config.sample_size)
    taken = []
    for time in pipe.scheduler.timesteps:
        after, log_probability = move(pipe, latents, texts, time)
        taken.append(Step(latents, after, time, log_probability))
        latents = after
    pictures: Tensor = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    return (pictures / 2 + 0.5).clamp(0, 1), taken


def advantages_of(rewards: Tensor, group: int) -> Tensor:
    """What each reward is above the mean of its group, in standard deviations of the group, `[N]`."""
    grouped = rewards.view(-1, group)
    centred = grouped - grouped.mean(dim=1, keepdim=True)
    return (centred / (grouped.std(dim=1, keepdim=True) + 1e-4)).flatten()


def loss_of(
    pipe: StableDiffusionPipeline, step: Step, texts: Tensor, advantages: Tensor, clip: float
) -> Tensor:
    """The clipped loss of policy optimisation (Schulman et al. 2017, equation 7) of one step of the sampler."""
    _, log_probability = move(pipe, step.before, texts, step.time, step.after)
    ratio = (log_probability - step.log_probability).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def learn(run: FineTuning, settings: Settings) -> None:
    """Learn from the reward, and validate every so many iterations.

    Warns:
        UserWarning: If the reward rises while the quality falls.
    """
    torch.manual_seed(settings.seed)
    pipe, weights = run.pipe, run.weights
    watch = Watch({"quality": "unisim-mini"}, window=settings.window)
    reward = GroupwiseReward("unisim-mini", "image-image", watch=watch)
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate)
    scenes = wanted_scenes()
    for iteration in range(settings.iterations + 1):
        if iteration % settings.every == 0:
            run.validate(iteration)
        chosen = [scenes[row] for row in torch.randperm(len(scenes))[: settings.prompts].tolist()]
        group = [pair for pair in chosen for _ in range(settings.group)]
        prompts = [prompt for prompt, _ in group]
        texts = embed_prompts(pipe, prompts)
        pictures, taken = sample(pipe, texts, settings.sampling_steps)
        rewards, _ = reward(pictures, prompts, [{"reference": reference} for _, reference in group])
        advantages = advantages_of(rewards, settings.group)
        for step in taken:
            torch.autograd.backward(loss_of(pipe, step, texts, advantages, settings.clip))
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()


if __name__ == "__main__":
    fine_tune(__doc__.split("\n")[0], Settings, ("iterations", "every", "prompts", "group"), learn)
