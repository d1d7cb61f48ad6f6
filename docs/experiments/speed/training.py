"""What a training step and the texts of a run cost, as ratios within one run.

    python -m docs.experiments.speed.training

The model is a CLIP ViT-B/32 with random weights, on which speed does not depend, and the paper's adapter; the
triplets are crops of the photographs that ship inside scikit-image, some of every task.

The texts of a run are embedded once, before the first step: their share of a run is

    unique texts x seconds a text / (triplets of each task x seconds of a step / its triplets of each task),

with the paper's 400,000 triplets of each task and `UNIQUE_TEXTS`, an upper bound for its training sets.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from unisim_metrics import load_model
from unisim_metrics.benchmark.costs.efficiency import clip_tokenizer
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.models.encoders.clip import CLIPEncoder
from unisim_metrics.tasks import Task
from unisim_metrics.training.clip.run import start
from unisim_metrics.training.clip.trainer import Trainer
from unisim_metrics.training.objective import task_losses
from unisim_metrics.training.recipe import DataSettings, OptimizationSettings, Recipe

IMAGES = 64
STEP_GOAL = 1.15
TEXT_GOAL = 0.02
TRIPLETS = 400_000
# 107,000 prompts of HPDv2 and 78,600 candidates of Polaris (their cards); an instruction for each triplet of MagicBrush
# (11,500), a description for each of HQ-Edit (100,000), a reference for each of Polaris (245,900; paper, Table 5).
UNIQUE_TEXTS = 543_000
# 25 tokens. Captions have fewer, the descriptions of HQ-Edit more.
WORDS = 20
TEXTS = ("a cat looks up", "a cup of coffee on a table", "an astronaut smiles", "a rocket on its pad")


@dataclass(frozen=True)
class Seconds:
    """Medians over the rounds.

    Attributes:
        step: A step of the trainer.
        bare: The bare forward and backward of the same batch.
        lookup: Finding the embeddings of the batch's texts.
        text: Embedding one text, before the first step.
    """

    step: float
    bare: float
    lookup: float
    text: float


def write_base(folder: Path) -> None:
    """Write a CLIP ViT-B/32 with random weights."""
    tokenizer = clip_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": tokenizer.model_max_length,
    }
    CLIPModel(CLIPConfig(text_config=text)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)


def write_data(root: Path) -> list[str]:
    """Write crops of 512×384 pixels and a file of triplets for each task; return the files."""
    from skimage import data

    (root / "images").mkdir(parents=True)
    photos = [
        Image.fromarray(np.asarray(photo)) for photo in (data.astronaut(), data.chelsea(), data.coffee())
    ]
    rng = np.random.default_rng(0)
    paths = [root / "images" / f"{index}.jpg" for index in range(IMAGES)]
    for index, path in enumerate(paths):
        photo = photos[index % len(photos)]
        left, top = rng.uniform(0, photo.width / 4), rng.uniform(0, photo.height / 4)
        box = (left, top, left + photo.width * 3 / 4, top + photo.height * 3 / 4)
        photo.resize((512, 384), Image.Resampling.BICUBIC, box=box).save(path)

    def image(index: int) -> Path:
        return paths[index % IMAGES]

    def text(index: int) -> str:
        return TEXTS[index % len(TEXTS)]

    rounds = range(IMAGES)
    tasks: dict[Task, list[Sample]] = {
        "image-image": [Sample(image(i), (image(i + 1), image(i + 2)), 0) for i in rounds],
        "image-text": [Sample(text(i), (image(i), image(i + 3)), 0) for i in rounds],
        "caption": [Sample(image(i), (text(i), text(i + 1)), 0) for i in rounds],
        "quality": [Sample(None, (image(i), image(i + 4)), 0) for i in rounds],
    }
    for task, samples in tasks.items():
        write_json_lines(root / f"{task}.jsonl", samples, task, root, "train")
    return [str(root / f"{task}.jsonl") for task in tasks]


def measure(trainer: Trainer, encoder: CLIPEncoder, rounds: int, count: int) -> Seconds:
    """Time steps, bare passes, look-ups and texts in turn, a first round of each left out."""
    times: dict[str, list[float]] = {"step": [], "bare": [], "lookup": [], "text": []}
    reports = trainer.train()
    for index in range(rounds + 1):
        batch = trainer.batches[index]
        images = torch.zeros(len(batch.pixels), trainer.texts.shape[1])
        texts = _texts(count, seed=index)

        def look_up(tasks: Any = batch.tasks, images: Any = images) -> None:
            for indices in tasks.values():
                indices.embed(images, trainer.texts)

        jobs: dict[str, Callable[[], Any]] = {
            "step": lambda: next(reports),
            "bare": lambda batch=batch: _bare(trainer, batch),  # type: ignore[misc]
            "lookup": look_up,
            "text": lambda texts=texts: encoder.embed_texts(texts, batch_size=256),  # type: ignore[misc]
        }
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - started)
    step, bare, lookup, text = (statistics.median(seconds[1:]) for seconds in times.values())
    return Seconds(step, bare, lookup, text / count)


def _bare(trainer: Trainer, batch: Any) -> None:
    images = trainer.tower(batch.pixels)
    embedded = {task: indices.embed(images, trainer.texts) for task, indices in batch.tasks.items()}
    torch.stack(list(task_losses(embedded).values())).sum().backward()
    trainer.tower.zero_grad()


def _texts(count: int, seed: int) -> list[str]:
    """Texts of `WORDS` words, all different."""
    words = " ".join(TEXTS).split()
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, WORDS)) for _ in range(count)]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="steps that are timed")
    parser.add_argument("--batch-size", type=int, default=8, help="triplets of each task in a step")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    parser.add_argument("--unique-texts", type=int, default=UNIQUE_TEXTS, help="texts of the whole run")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_base(root / "base")
        recipe = Recipe(
            name="speed",
            base=str(root / "base"),
            data=DataSettings(tuple(write_data(root)), (arguments.rounds + 1) * arguments.batch_size),
            optimization=OptimizationSettings(batch_size=arguments.batch_size, warmup_steps=1),
            save_every=10**9,
        )
        trainer, _ = start(recipe, root, root / "run", workers=arguments.workers)
        encoder = cast(CLIPEncoder, load_model(root / "base"))
        tokens = np.mean([len(ids) for ids in encoder.tokenizer(_texts(256, seed=0))["input_ids"]])
        seconds = measure(trainer, encoder, arguments.rounds, count=64)
    share = (arguments.unique_texts * seconds.text) / (TRIPLETS * seconds.step / arguments.batch_size)
    print("| ratio of medians | measured | goal |")
    print("| --- | --- | --- |")
    print(
        f"| training step / bare forward and backward | {seconds.step / seconds.bare:.3f} | ≤ {STEP_GOAL} |"
    )
    print(
        f"| {arguments.unique_texts:,} texts of {tokens:.0f} tokens, once / the steps of {TRIPLETS:,} triplets a task"
        f" | {share:.4f} | < {TEXT_GOAL} |"
    )
    print(f"| finding the texts of a step / step | {seconds.lookup / seconds.step:.5f} | |")


if __name__ == "__main__":
    main()
