"""What the measurements on tiny pipelines with random denoisers share: photographs, an autoencoder, a second model.

A denoiser with random weights can draw no photograph; colours and lights are what there is to gain. So that there are
any, the autoencoder is fitted to crops of photographs first. A model that has no part in the choice or in the guidance,
convolutions with random weights, judges too: what pleases the first alone is a pattern, not a picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import to_tensor

from unisim_metrics import load_model
from unisim_metrics.functional import unisim_score
from unisim_metrics.images import Preprocessing

from .tiny_pipelines import SIZE, TINY, tiny_vae

PIPELINES = ("sd", "sd3", "flux")
_JUDGES = 4
_REFERENCE = 224


class RandomFeatures(nn.Module):
    """Convolutions with random weights, whose activations at every place are the features of a picture."""

    def __init__(self, seed: int, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = [(width, before, 3, 3) for before, width in zip((3, *widths), widths, strict=False)]
        self.kernels = nn.ParameterList(torch.randn(shape, generator=generator) for shape in shapes)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Features `[N, D]`: every layer has the same weight, and in a layer every place."""
        features = []
        for kernel in self.kernels:
            pixels = F.relu(F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="reflect"), kernel))
            features.append(F.normalize(F.normalize(pixels, dim=1).flatten(1), dim=1))
            pixels = F.avg_pool2d(pixels, 2)
        return torch.cat(features, dim=1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Nothing is known of texts."""
        raise NotImplementedError("Random features are of pictures alone.")


class SecondModel:
    """The mean likeness by several networks of random features at 32 pixels."""

    def __init__(self) -> None:
        self._models = [
            load_model(RandomFeatures(seed), tokenizer=_no_tokens, preprocessing=Preprocessing(size=32))
            for seed in range(_JUDGES)
        ]

    def scores(self, images: Tensor, references: Sequence[Image.Image]) -> Tensor:
        """Scores `[N]` of images, each with its own reference."""
        scores = [unisim_score(images, references, model, reduction="none") for model in self._models]
        return torch.stack(scores).mean(0)


def crop_photographs(count: int, side: int, seed: int = 0) -> list[Image.Image]:
    """Square crops, in random places and sizes, of the photographs that ship inside scikit-image."""
    from skimage import data

    photographs: Any = data  # which has no types
    photos = [
        Image.fromarray(getattr(photographs, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")
    ]
    generator = torch.Generator().manual_seed(seed)
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        share, left, top = torch.rand(3, generator=generator).tolist()
        size = min(photo.size) * (0.3 + 0.6 * share)
        left, top = left * (photo.width - size), top * (photo.height - size)
        box = (left, top, left + size, top + size)
        crops.append(photo.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return crops


def fit_autoencoder(steps: int, seed: int = 0) -> AutoencoderKL:
    """Fit a tiny autoencoder to photographs, so that its latents stand for colours and lights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = tiny_vae().train()
        pictures = torch.stack([to_tensor(crop) for crop in crop_photographs(512, SIZE, seed)]) * 2 - 1
        optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3)
        for _ in range(steps):
            batch = pictures[torch.randint(len(pictures), (8,))]
            latents = vae.encode(batch).latent_dist.mode()
            decoded = vae.decode(latents + 0.1 * torch.randn_like(latents)).sample
            loss = (decoded - batch).abs().mean() + 1e-3 * latents.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            spread = float(vae.eval().encode(pictures[:64]).latent_dist.mode().std())
    # As large as the noise, as latents of the real models are.
    vae.register_to_config(scaling_factor=1 / spread, shift_factor=0.0)
    return vae


def command_line(doc: str) -> argparse.ArgumentParser:
    """The options that all these measurements have.

    Args:
        doc: The docstring of the module.
    """
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--pipelines", nargs="+", choices=list(TINY), default=list(PIPELINES))
    parser.add_argument("--steps", type=int, default=8, help="sampling steps")
    parser.add_argument("--fit", type=int, default=400, help="steps that fit the autoencoder")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    return parser


def print_table(
    options: argparse.Namespace,
    header: str,
    count: int,
    rows: Callable[[str, AutoencoderKL, Sequence[Image.Image]], Iterable[Any]],
) -> None:
    """Measure pipelines, and print a table.

    Args:
        options: Of `command_line`.
        header: Of the table.
        count: How many references there are.
        rows: From the name of a pipeline, the fitted autoencoder and the references to lines of the table.
    """
    torch.set_num_threads(options.threads)
    vae = fit_autoencoder(options.fit)
    references = crop_photographs(count, _REFERENCE, seed=1)
    print(header)
    for kind in options.pipelines:
        for row in rows(kind, vae, references):
            print(row, flush=True)


def interval(values: Tensor) -> str:
    """Mean and half the width of its 95 % interval."""
    return f"{values.mean():+.4f} ± {1.96 * values.std() / len(values) ** 0.5:.4f}"


def _no_tokens(texts: list[str]) -> Tensor:
    return torch.zeros(len(texts), 1)
