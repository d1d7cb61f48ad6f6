"""Stage 2: a `UNet2DConditionModel` that takes noise off latents, told the caption by the frozen text tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor
from transformers import BertModel, PreTrainedTokenizerBase

from .descent import descend
from .drawing import random_caption, random_scene
from .recipe import Recipe

_CAPTIONS_A_SCENE = 4


def build_denoiser(recipe: Recipe, latents: tuple[int, ...], text_width: int) -> UNet2DConditionModel:
    """A U-Net of the recipe's size for latents `[C, h, w]`, not trained. All but its first level attend to the text."""
    settings = recipe.denoiser
    below = len(settings.block_out_channels) - 1
    return UNet2DConditionModel(
        sample_size=latents[-1],
        in_channels=latents[0],
        out_channels=latents[0],
        layers_per_block=1,
        block_out_channels=settings.block_out_channels,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * below,
        up_block_types=("CrossAttnUpBlock2D",) * below + ("UpBlock2D",),
        norm_num_groups=settings.norm_num_groups,
        attention_head_dim=settings.attention_heads,  # diffusers means the number of heads
        cross_attention_dim=text_width,
    )


def noise_scheduler() -> DDPMScheduler:
    """The noise of the training; the denoiser predicts the velocity (Salimans and Ho, 2022)."""
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False)


def train_denoiser(
    latents: Tensor,
    text_encoder: BertModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    checkpoint: Path,
) -> UNet2DConditionModel:
    """Train a denoiser.

    Args:
        latents: Scaled, `[N, C, h, w]`, of the scenes of the seeds from 0 to N.
        text_encoder: The frozen text tower.
        tokenizer: Its tokenizer, whose `model_max_length` captions are padded to.
        recipe: What is done.
        checkpoint: See `descend`.

    Returns:
        In evaluation mode.
    """
    texts, rows_of = _embed_captions(len(latents), text_encoder, tokenizer, recipe.seed)
    torch.manual_seed(recipe.seed)
    model = build_denoiser(recipe, tuple(latents.shape[1:]), texts.shape[-1]).train()
    settings, scheduler = recipe.denoiser, noise_scheduler()
    steps = int(scheduler.config.num_train_timesteps)

    def loss(generator: torch.Generator) -> Tensor:
        batch = (settings.descent.batch,)
        rows = torch.randint(len(latents), batch, generator=generator)
        captions = rows_of[rows, torch.randint(_CAPTIONS_A_SCENE, batch, generator=generator)]
        captions[torch.rand(batch, generator=generator) < settings.unconditional] = 0
        timesteps = torch.randint(steps, batch, generator=generator)
        clean = latents[rows]
        noise = torch.randn(clean.shape, generator=generator)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        velocity = model(noisy, timesteps, texts[captions]).sample
        error = (velocity - scheduler.get_velocity(clean, noise, timesteps)).square().mean(dim=(1, 2, 3))
        snr = compute_snr(scheduler, timesteps)
        weighted: Tensor = error * snr.clamp(max=settings.snr_limit) / (snr + 1)
        return weighted.mean()

    descend(model, loss, settings.descent, recipe.seed, checkpoint)
    return model.eval()


def _embed_captions(
    count: int, text_encoder: BertModel, tokenizer: PreTrainedTokenizerBase, seed: int
) -> tuple[Tensor, Tensor]:
    """The hidden states of every caption, that of the empty one first; and which rows of them each scene has."""
    rng = np.random.default_rng(seed)
    rows: dict[str, int] = {"": 0}
    rows_of = [
        [rows.setdefault(random_caption(scene, rng), len(rows)) for _ in range(_CAPTIONS_A_SCENE)]
        for scene in map(random_scene, range(count))
    ]
    tokens = tokenizer(list(rows), padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        return text_encoder(**tokens).last_hidden_state, torch.tensor(rows_of)
