"""A training step against its bare forward and backward, as a ratio within one run.

    python -m unisim_metrics.training.speed

The model is a CLIP ViT-B/32 with random weights, on which speed does not depend, and the paper's adapter; the
triplets are crops of the photographs that ship inside scikit-image, some of every task.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from unisim_metrics import load_model
from unisim_metrics.models.clip import CLIPEncoder
from unisim_metrics.training.clip import Trainer
from unisim_metrics.training.objective import task_losses
from unisim_metrics.training.recipe import Data, Optimization, Recipe
from unisim_metrics.training.run import start

IMAGES = 64
STEP_GOAL = 1.15
TEXTS = ("a cat looks up", "a cup of coffee on a table", "an astronaut smiles", "a rocket on its pad")


def write_base(folder: Path) -> None:
    """Write a CLIP ViT-B/32 with random weights, with the tokenizer of the bundled model."""
    tokenizer: CLIPTokenizer = cast(CLIPEncoder, load_model()).tokenizer
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
    for index in range(IMAGES):
        photo = photos[index % len(photos)]
        left, top = rng.uniform(0, photo.width / 4), rng.uniform(0, photo.height / 4)
        box = (left, top, left + photo.width * 3 / 4, top + photo.height * 3 / 4)
        photo.resize((512, 384), Image.Resampling.BICUBIC, box=box).save(root / "images" / f"{index}.jpg")

    def image(index: int) -> dict[str, str]:
        return {"image": f"images/{index % IMAGES}.jpg"}

    def text(index: int) -> dict[str, str]:
        return {"text": TEXTS[index % len(TEXTS)]}

    tasks: dict[str, list[tuple[Any, list[dict[str, str]]]]] = {
        "image-image": [(image(i), [image(i + 1), image(i + 2)]) for i in range(IMAGES)],
        "image-text": [(text(i), [image(i), image(i + 3)]) for i in range(IMAGES)],
        "caption": [(image(i), [text(i), text(i + 1)]) for i in range(IMAGES)],
        "quality": [(None, [image(i), image(i + 4)]) for i in range(IMAGES)],
    }
    for task, choices in tasks.items():
        rows = [
            {"task": task, "reference": reference, "alternatives": pair, "label": 0, "split": "train"}
            for reference, pair in choices
        ]
        (root / f"{task}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return [str(root / f"{task}.jsonl") for task in tasks]


def measure(trainer: Trainer, rounds: int) -> tuple[float, float]:
    """Median seconds of a step, and of the bare forward, backward and update of the same batch."""
    steps, bare = [], []
    reports = trainer.train()
    tower = trainer.tower
    for index in range(rounds + 1):
        batch = trainer.batches[index]
        started = time.perf_counter()
        next(reports)
        stepped = time.perf_counter()
        images = tower(batch.pixels)
        embedded = {task: indices.embed(images, trainer.texts) for task, indices in batch.tasks.items()}
        torch.stack(list(task_losses(embedded).values())).sum().backward()
        tower.zero_grad()
        done = time.perf_counter()
        if index > 0:
            steps.append(stepped - started)
            bare.append(done - stepped)
    return statistics.median(steps), statistics.median(bare)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="steps that are timed")
    parser.add_argument("--batch-size", type=int, default=8, help="triplets of each task in a step")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_base(root / "base")
        recipe = Recipe(
            name="speed",
            base=str(root / "base"),
            data=Data(tuple(write_data(root)), (arguments.rounds + 1) * arguments.batch_size),
            optimization=Optimization(batch_size=arguments.batch_size, warmup_steps=1),
            save_every=10**9,
        )
        trainer, _ = start(recipe, root, root / "run", workers=arguments.workers)
        step, bare = measure(trainer, arguments.rounds)
    print("| ratio of medians | measured | goal |")
    print("| --- | --- | --- |")
    print(f"| training step / bare forward and backward | {step / bare:.3f} | ≤ {STEP_GOAL} |")


if __name__ == "__main__":
    main()
