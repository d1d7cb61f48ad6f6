"""Fine-tune the model of `train.py` by a LoRA on scenes of one colour, and validate it on the way.

    python -m docs.experiments.scenes.lora --model scenes/pipeline --out scenes/lora

Captions name no colour, and the objects of all training scenes are purple: what is to be learned.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .autoencoder import encode
from .denoiser import noise_scheduler
from .drawing import caption, pixels, random_scene
from .finetuning import COLOUR, FineTuning, embed_prompts, fine_tune

_SCENES = 50_000_000  # the first seed of training scenes, which nothing else was made with


@dataclass(frozen=True)
class Settings:
    """What is done.

    Attributes:
        steps: Steps of the optimizer.
        every: Steps from one validation to the next.
        batch: Scenes of a step.
        scenes: Training scenes.
        rank: Of the LoRA.
        learning_rate: Of AdamW.
        seed: Of weights and batches.
    """

    steps: int = 2000
    every: int = 200
    batch: int = 16
    scenes: int = 500
    rank: int = 8
    learning_rate: float = 1e-3
    seed: int = 0


def learn(run: FineTuning, settings: Settings) -> None:
    """Learn to draw scenes, and validate every so many steps."""
    torch.manual_seed(settings.seed)
    pipe = run.pipe
    optimizer = torch.optim.AdamW(run.weights, lr=settings.learning_rate)
    scenes = [random_scene(_SCENES + number, colour=COLOUR) for number in range(settings.scenes)]
    latents = encode(pipe.vae, pixels(scenes)) * pipe.vae.config.scaling_factor
    texts = embed_prompts(pipe, [caption(scene.shape, None, scene.ground) for scene in scenes])
    scheduler = noise_scheduler()
    for step in range(settings.steps + 1):
        if step % settings.every == 0:
            run.validate(step)
        rows = torch.randint(len(latents), (settings.batch,))
        times = torch.randint(int(scheduler.config.num_train_timesteps), (settings.batch,))
        noise = torch.randn(latents[rows].shape)
        noisy = scheduler.add_noise(latents[rows], noise, times)
        velocity = pipe.unet(noisy, times, texts[rows]).sample
        loss = (velocity - scheduler.get_velocity(latents[rows], noise, times)).square().mean()
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    fine_tune(__doc__.split("\n")[0], Settings, ("steps", "every", "batch"), learn)
