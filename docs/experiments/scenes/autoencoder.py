"""Stage 1: an `AutoencoderKL` that turns scenes into latents and back."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .descent import descend
from .drawing import SIDE
from .recipe import Recipe


def build_autoencoder(recipe: Recipe) -> AutoencoderKL:
    """An autoencoder of the recipe's size, not trained."""
    settings = recipe.autoencoder
    levels = len(settings.block_out_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=settings.block_out_channels,
        latent_channels=settings.latent_channels,
        norm_num_groups=settings.norm_num_groups,
        mid_block_add_attention=False,
        sample_size=SIDE,
    )


def train_autoencoder(scenes: Tensor, recipe: Recipe, checkpoint: Path) -> AutoencoderKL:
    """Train an autoencoder.

    Args:
        scenes: `[N, 3, 64, 64]`, uint8.
        recipe: What is done.
        checkpoint: See `descend`.

    Returns:
        In evaluation mode, its scaling factor set so that latents have unit variance.
    """
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(recipe).train()
    settings = recipe.autoencoder

    def loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (settings.descent.batch,), generator=generator)
        pictures = normalised(scenes[rows])
        posterior = model.encode(pictures).latent_dist
        decoded = model.decode(posterior.sample(generator)).sample
        # Of each latent number, as the other two are of each pixel.
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        total: Tensor = _distance(decoded, pictures) + settings.kl_weight * divergence
        return total

    descend(model, loss, settings.descent, recipe.seed, checkpoint)
    model.eval()
    model.register_to_config(scaling_factor=1 / float(encode(model, scenes[:512]).std()))
    return model


def sharpen_decoder(model: AutoencoderKL, scenes: Tensor, recipe: Recipe, checkpoint: Path) -> AutoencoderKL:
    """Train the decoder alone, which leaves the latents as they are: a denoiser of them stays right.

    Args:
        model: A trained autoencoder; its decoder is changed.
        scenes: `[N, 3, 64, 64]`, uint8.
        recipe: What is done.
        checkpoint: See `descend`.
    """
    settings = recipe.autoencoder.sharpening
    latents = encode(model, scenes)
    decoder = nn.Sequential(model.post_quant_conv, model.decoder).train()

    def loss(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(scenes), (settings.batch,), generator=generator)
        return _distance(decoder(latents[rows]), normalised(scenes[rows]))

    descend(decoder, loss, settings, recipe.seed, checkpoint)
    return model.eval()


@torch.no_grad()
def encode(model: AutoencoderKL, scenes: Tensor) -> Tensor:
    """Means of the latents of scenes, not scaled: `[N, C, h, w]`."""
    return torch.cat([model.encode(normalised(part)).latent_dist.mean for part in torch.split(scenes, 64)])


def normalised(scenes: Tensor) -> Tensor:
    """Pixels in [-1, 1], as diffusers wants them, from uint8."""
    return scenes.float() / 127.5 - 1


def _distance(decoded: Tensor, pictures: Tensor) -> Tensor:
    return F.l1_loss(decoded, pictures) + F.mse_loss(decoded, pictures)
