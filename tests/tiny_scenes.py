"""The scene model of the documentation, tiny and not trained: a pipeline that reads prompts, made in a second."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from docs.experiments.scenes.autoencoder import build_autoencoder
from docs.experiments.scenes.denoiser import build_denoiser, noise_scheduler
from docs.experiments.scenes.recipe import Autoencoder, Denoiser, Recipe
from docs.experiments.scenes.train import text_tower

TINY = Recipe(
    scenes=16,
    autoencoder=Autoencoder((8, 8, 8, 8), latent_channels=4),
    denoiser=Denoiser((16, 32), attention_heads=2, norm_num_groups=8),
)


def tiny_scene_pipeline() -> StableDiffusionPipeline:
    """A pipeline of random weights, in evaluation mode, that shows no progress."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text_encoder, tokenizer = text_tower(TINY.tokens)
        pipeline = StableDiffusionPipeline(
            vae=build_autoencoder(TINY).eval(),
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=build_denoiser(TINY, (4, 8, 8), text_encoder.config.hidden_size).eval(),
            scheduler=DDIMScheduler.from_config(
                noise_scheduler().config, timestep_spacing="trailing", steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
