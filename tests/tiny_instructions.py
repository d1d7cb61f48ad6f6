"""A generative run that is small enough to be done many times: random images, a tiny LLaVA, some triplets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny_generative import pictures
from tiny_generative import write as write_model

from unisim_metrics.training.generative import run
from unisim_metrics.training.generative.recipe import Recipe
from unisim_metrics.training.recipe import build

TEXTS = ["a red ball", "a dog runs", "two people", "blue sky"]


def write_data(root: Path) -> list[str]:
    """Images and a file of triplets of every task, whose images hang together by fours; return the files."""
    folder = root / "images"
    folder.mkdir(parents=True)
    names = [f"images/{index}.png" for index in range(12)]
    for name, picture in zip(names, pictures(12), strict=True):
        picture.save(root / name)

    def image(index: int) -> dict[str, str]:
        return {"image": names[index % 12]}

    def text(index: int) -> dict[str, str]:
        return {"text": TEXTS[index % 4]}

    triplets: dict[str, list[tuple[Any, Any, Any]]] = {
        "image-image": [(image(i), image(i + 1), image(i + 3)) for i in range(0, 12, 4)],
        "image-text": [(text(i), image(4 * i), image(4 * i + 1)) for i in range(3)],
        "caption": [(image(i), text(i), text(i + 1)) for i in range(12)],
        "quality": [(None, image(2 * i), image(2 * i + 1)) for i in range(6)],
    }
    files = []
    for task, rows in triplets.items():
        lines = [
            {
                "task": task,
                "split": "train",
                "reference": reference,
                "alternatives": [first, second],
                "label": index % 2,
            }
            for index, (reference, first, second) in enumerate(rows)
        ]
        files.append(str(root / f"{task}.jsonl"))
        Path(files[-1]).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return files


def write_instructions(root: Path) -> str:
    """A foreign instruction file over the same images."""
    human, gpt = {"from": "human", "value": "<image><image> Same?"}, {"from": "gpt", "value": "No."}
    entries = [
        {"id": f"m{index}", "image": [f"images/{index}.png", "images/0.png"], "conversations": [human, gpt]}
        for index in range(3)
    ]
    (root / "m4.json").write_text(json.dumps(entries))
    return "m4.json"


def recipe_of(base: Path, files: list[str], **tables: Any) -> Recipe:
    """Four steps of four dialogues, one of each task."""
    values: dict[str, Any] = {
        "kind": "generative",
        "name": "tiny",
        "base": str(base),
        "data": {
            "datasets": files,
            "samples": {"image_image": 4, "image_text": 4, "caption": 4, "quality": 4},
        },
        "learning_rates": {"language_model": 1e-3, "projector": 2e-3, "vision_tower": 1e-4},
        "optimization": {"batch_size": 4, "device_batch_size": 2, "precision": "no", "checkpointing": False},
        "save_every": 2,
    }
    for name, table in tables.items():
        values[name] = {**values.get(name, {}), **table} if isinstance(table, dict) else table
    recipe: Recipe = build(Recipe, values)
    return recipe


def train(recipe: Recipe, root: Path, out: Path, *, stop: int | None = None, resume: bool = False) -> Path:
    """Run a recipe, and return the folder of what it left."""
    trainer = run.start(recipe, root, out, resume=resume, workers=0)
    run.train(trainer, stop, resume)
    return run.finish(trainer)


__all__ = ["recipe_of", "train", "write_data", "write_instructions", "write_model"]
