"""What guidance gains on tiny pipelines whose denoisers have random weights, in one table.

    python -m docs.experiments.guidance_gain

Each pipeline makes the images of 64 seeds with and without guidance, each towards a crop of a photograph of its
own, by the likeness that the bundled model sees. A second model that has no part in the guidance, convolutions
with random weights, judges the likeness too: what pleases the first alone is a pattern, not a picture. A denoiser
with random weights can draw no photograph; colours and lights are what there is to gain. So that there are any,
the autoencoder is fitted to the photographs first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from unisim_metrics.integrations.diffusers.augmentation import Augmentation
from unisim_metrics.integrations.diffusers.guidance import UniSimGuidanceCallback
from unisim_metrics.integrations.diffusers.rewards import UniSimReward

from .tiny_pipelines import SIZE, TINY, tiny_inputs, tiny_vae

PIPELINES = ("sd", "sd3", "flux")
_VIEWS: dict[str, Any] = {"augmentation": Augmentation(views=2), "inner_steps": 3}
FORMS: dict[str, dict[str, Any]] = {
    "the picture alone": {},
    "3 × 2 views": _VIEWS,
    "3 × 2 views, through the denoiser": {**_VIEWS, "through_denoiser": True},
}
HEADER = """\
| pipeline | gradient of | reward | seeds raised | second model |
| --- | --- | --- | --- | --- |"""
_JUDGES = 4
_REFERENCE = 224


@dataclass(frozen=True)
class Row:
    """A way of guiding a pipeline.

    Attributes:
        pipeline: A key of `TINY`.
        form: A key of `FORMS`.
        gains: By how much the reward rose, for each seed.
        second: By how much the score of the second model rose, likewise.
    """

    pipeline: str
    form: str
    gains: Tensor
    second: Tensor

    @property
    def raised(self) -> float:
        """The share of the seeds whose reward rose."""
        return float((self.gains > 0).float().mean())

    def __str__(self) -> str:
        return (
            f"| {self.pipeline} | {self.form} | {interval(self.gains)} | {self.raised:.1%}"
            f" | {interval(self.second)} |"
        )


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


class Experiment:
    """A tiny pipeline, one reference and one set of embeddings in the place of a prompt for each seed.

    Args:
        kind: A key of `TINY`.
        vae: The autoencoder.
        references: One image a seed.
        steps: Sampling steps.
        batch: Images at a time.
    """

    def __init__(
        self, kind: str, vae: AutoencoderKL, references: Sequence[Image.Image], steps: int, batch: int
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.pipe: Any = TINY[kind]()
        self.pipe.register_modules(vae=vae)
        self.pipe.set_progress_bar_config(disable=True)
        self.kind = kind
        self.references = references
        self.steps = steps
        self.batch = batch

    def images(self, form: str | None = None) -> Tensor:
        """The images of all seeds, guided in one of the `FORMS` or not at all."""
        seeds = range(len(self.references))
        parts = [seeds[first : first + self.batch] for first in seeds[:: self.batch]]
        return torch.cat([self._sample(part, form) for part in parts])

    def _sample(self, seeds: range, form: str | None) -> Tensor:
        if form is None:
            return self._call(seeds, None)
        reward = UniSimReward(reference=[self.references[seed] for seed in seeds])
        with UniSimGuidanceCallback(self.pipe, reward, **FORMS[form]) as callback:
            return self._call(seeds, callback)

    def _call(self, seeds: range, callback: UniSimGuidanceCallback | None) -> Tensor:
        inputs = [tiny_inputs(self.kind, 1, seed) for seed in seeds]
        arguments = {
            name: torch.cat([one[name] for one in inputs]) if isinstance(value, Tensor) else value
            for name, value in inputs[0].items()
        }
        images: Tensor = self.pipe(
            **arguments,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=self.steps,
            output_type="pt",
            callback_on_step_end=callback,
        ).images
        return images


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


def measure(experiment: Experiment, forms: Sequence[str]) -> Iterator[Row]:
    """Measure ways of guiding one pipeline.

    Args:
        experiment: The pipeline, its seeds and references.
        forms: Keys of `FORMS`.

    Yields:
        A row for each form.
    """
    references, second = experiment.references, SecondModel()

    def scores(images: Tensor) -> Tensor:
        first = unisim_score(images, references, "unisim-mini", reduction="none")
        return torch.stack([first, second.scores(images, references)])

    before = scores(experiment.images())
    for form in forms:
        gains, others = scores(experiment.images(form)) - before
        yield Row(experiment.kind, form, gains, others)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pipelines", nargs="+", choices=list(TINY), default=list(PIPELINES))
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--seeds", type=int, default=64, help="images of each pipeline")
    parser.add_argument("--batch", type=int, default=16, help="images at a time")
    parser.add_argument("--steps", type=int, default=8, help="sampling steps")
    parser.add_argument("--fit", type=int, default=400, help="steps that fit the autoencoder")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    vae = fit_autoencoder(options.fit)
    references = crop_photographs(options.seeds, _REFERENCE, seed=1)
    print(HEADER)
    for kind in options.pipelines:
        for row in measure(Experiment(kind, vae, references, options.steps, options.batch), options.forms):
            print(row, flush=True)


def _no_tokens(texts: list[str]) -> Tensor:
    return torch.zeros(len(texts), 1)


def interval(values: Tensor) -> str:
    """Mean and half the width of its 95 % interval."""
    return f"{values.mean():+.4f} ± {1.96 * values.std() / len(values) ** 0.5:.4f}"


if __name__ == "__main__":
    main()
