"""A training run that is small enough to be done many times: random images, some triplets of every task."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from transformers import CLIPModel

from unisim_metrics import load_model
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.training.clip.batches import TextTable
from unisim_metrics.training.clip.tower import adapt, embed_texts
from unisim_metrics.training.clip.trainer import Trainer
from unisim_metrics.training.recipe import DataSettings, LoraSettings, OptimizationSettings, Recipe
from unisim_metrics.training.stream import Pool, TripletStream
from unisim_metrics.training.validation import Validator

TEXTS = ["a red ball", "a dog runs", "two people", "blue sky", "a cat", "an old house"]

RECIPE = Recipe(
    name="tiny",
    base="tiny",
    data=DataSettings(datasets=("images",), samples_per_task=24),
    lora=LoraSettings(rank=4, alpha=8, dropout=0.0),
    optimization=OptimizationSettings(batch_size=4, learning_rate=1e-2, warmup_steps=1, max_norm=None),
    save_every=2,
)


def write_images(folder: Path, count: int = 10) -> list[Path]:
    """Images of the size that the tiny model takes, so that no resize stands between two computations."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        path = folder / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def pools_of(paths: Sequence[Path]) -> list[Pool]:
    """Triplets of every task over the images."""

    def pick(index: int) -> Path:
        return paths[index % len(paths)]

    image = [Sample(pick(i), (pick(i + 1), pick(i + 3)), i % 2) for i in range(7)]
    text = [Sample(TEXTS[i % 6], (pick(i), pick(i + 2)), 0) for i in range(5)]
    caption = [Sample(pick(i), (TEXTS[i % 6], TEXTS[(i + 1) % 6]), 1) for i in range(6)]
    quality = [Sample(None, (pick(i), pick(i + 5)), 0) for i in range(4)]
    return [
        Pool("images", "image-image", image),
        Pool("prompts", "image-text", text),
        Pool("captions", "caption", caption),
        Pool("ratings", "quality", quality),
    ]


def trainer_of(
    recipe: Recipe,
    directory: Path,
    paths: Sequence[Path],
    run: Path,
    workers: int = 0,
    held_out: Sequence[Pool] = (),
) -> Trainer:
    """A trainer over those triplets, which validates on others every other step."""
    accelerator = Accelerator(cpu=True)
    stream = TripletStream(pools_of(paths), recipe.optimization.batch_size, recipe.seed, recipe.data.balance)
    table = TextTable(stream, recipe.steps, recipe.prompts)
    model = CLIPModel.from_pretrained(directory)
    encoder: Any = load_model(model)
    texts = embed_texts(encoder, table, accelerator)
    clip = adapt(model, recipe, str(directory))
    validator = None
    if held_out:
        validator = Validator(held_out, "0" * 64, encoder, accelerator, run / "validation.jsonl", every=2)
    return Trainer(recipe, clip, texts, stream, table, encoder, accelerator, run, workers, validator)


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """A copy of what is trained."""
    return {name: weight.detach().clone() for name, weight in trainer.tower.trained().items()}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
