"""What the pages on generative models and on training need: a data root in small, and commands that are cut short."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import benchmark_data
import tiny_generative_mini
from llava_layout import write_layout
from tiny_generative import pictures

PAGES = ("docs/generative.md", "docs/training.md", "docs/training_generative.md")

_TRAINING_SETS = ("nights", "pieapp", "hpdv2", "magicbrush", "hq_edit", "polaris", "kadid", "pipal")
_BATCHES = ("optimization.batch_size=4", "validation.triplets=1")
_CLIP = ("data.samples_per_task=4", *_BATCHES, "optimization.warmup_steps=1")
_GENERATIVE = (
    *_BATCHES,
    "data.samples={image_image = 2, image_text = 2, caption = 2, quality = 2}",
    "instructions.samples=2",
    "optimization.device_batch_size=4",
    'optimization.precision="no"',
    "optimization.checkpointing=false",
)
# By how a command begins, once what launches it is left out.
_SHORTER: dict[tuple[str, ...], tuple[str, ...]] = {
    ("train", "unisim-vit-b-32"): _CLIP,
    ("train", "unisim-ll-n-0.5b"): _GENERATIVE,
    ("train", "unisim-ll-mini"): tiny_generative_mini.SETTINGS,
}


def prepare(page: str, folder: Path) -> None:
    """Put under a folder what the commands of a page read."""
    if page not in PAGES:
        return
    root = folder / "DATA"
    root.unlink(missing_ok=True)  # a link to what pages share, where these write files of their own
    for name in _TRAINING_SETS:
        getattr(benchmark_data, f"write_{name}")(root)
    tiny_generative_mini.write_photos(root)
    for name, picture in zip(("a.png", "b.png"), pictures(2), strict=True):
        picture.save(root / name)
    _write_instructions(root / "m4-instruct")
    write_layout(folder / "llava-checkpoint")


def shorten(words: Sequence[str]) -> list[str]:
    """The words of a command, with settings by which it takes seconds."""
    words = list(words)
    rest = words[words.index("unisim_metrics") + 1 :] if "unisim_metrics" in words else words[1:]
    for start, settings in _SHORTER.items():
        if tuple(rest[: len(start)]) == start:
            shorter = [word for setting in settings for word in ("--set", setting)]
            return [*words, *shorter, *(() if "--workers" in words else ("--workers", "0"))]
    if rest[:3] == ["bench", "run", "unisim-ll-n-0.5b"]:
        return [*words, "--dataset", "nights", "--n", "4"]
    if any(word.endswith("generative.mini.evaluate") for word in words):
        return [*words, "--pairs", "4"]
    return words


def _write_instructions(folder: Path) -> None:
    folder.mkdir()
    human, gpt = {"from": "human", "value": "<image><image> Same?"}, {"from": "gpt", "value": "No."}
    names = [f"{index}.png" for index in range(3)]
    for name, picture in zip(names, pictures(3), strict=True):
        picture.save(folder / name)
    entries = [
        {"id": f"m{index}", "image": [name, names[0]], "conversations": [human, gpt]}
        for index, name in enumerate(names)
    ]
    (folder / "m4_instruct_annotations.json").write_text(json.dumps(entries))
