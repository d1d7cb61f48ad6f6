"""Measure reward guidance and best-of-N on the model of `train.py`, by judges that UniSim has no part in.

python -m docs.experiments.scenes.measure --model scenes/pipeline --out scenes/figures
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from unisim_metrics.integrations.diffusers import Augmentation

from .autoencoder import normalised
from .comparison import (
    TASKS,
    Comparison,
    Measured,
    Settings,
    Task,
)
from .drawing import Scene, draw, pixels
from .judge import Judge, accuracy, train_judge, unseen_scenes
from .report import beside, grid, raised, table

log = logging.getLogger(__name__)
SINGLE = "single, unguided"
GUIDED: dict[str, dict[str, Any]] = {
    "guided": {},
    "guided, mean of 2 views": {"augmentation": Augmentation(views=2, crop=0.8, flip=False, noise=0.02)},
    "guided, through the denoiser": {"through_denoiser": True},
}
_GRID_ROWS = 5


def measure(
    pipe: StableDiffusionPipeline,
    judge: Judge,
    settings: Settings,
    out: Path,
    tasks: Sequence[Task] = TASKS,
) -> dict[str, dict[str, list[Measured]]]:
    """Measure every task and write figures, tables and a grid to `out`, task by task.

    Args:
        pipe: The pipeline.
        judge: The independent classifier.
        settings: How pictures are sampled.
        out: A folder.
        tasks: What is asked for.

    Returns:
        By task and way of sampling what was measured, one entry a prompt.
    """
    out.mkdir(parents=True, exist_ok=True)
    pipe.set_progress_bar_config(disable=True)
    found: dict[str, dict[str, list[Measured]]] = {}
    sheets, report = [], []
    before: Comparison | None = None
    for task in tasks:
        start = time.perf_counter()
        comparison = Comparison(pipe, task, judge, settings)
        if before is not None and before.prompts == comparison.prompts:
            comparison.candidates = before.candidates  # which no reward has touched
        before = comparison
        pictures = _sample(comparison)
        found[task.title] = {name: comparison.measure(column) for name, column in pictures.items()}
        log.info("%s: %.1f minutes", task.title, (time.perf_counter() - start) / 60)
        report.append(_section(comparison, found[task.title]))
        (out / "tables.md").write_text("\n\n".join(report) + "\n", encoding="utf-8")
        content = {"settings": asdict(settings), "measured": _plain(found)}
        (out / "figures.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if task.reward == "similarity":
            sheets.append(_sheet(comparison, pictures))
            beside(sheets).save(out / "grid.png", optimize=True)
    return found


def judges(judge: Judge, pipe: StableDiffusionPipeline, count: int = 1000) -> str:
    """Write the table of how often the judges are right: about scenes as drawn, and passed through the autoencoder."""
    scenes = unseen_scenes(count)
    rows = {
        "as drawn": accuracy(judge, [draw(scene) for scene in scenes], scenes),
        "through the autoencoder": accuracy(judge, _through(pipe, scenes), scenes),
    }
    names = list(rows["as drawn"])
    lines = [
        f"| {count} new scenes, % right | " + " | ".join(names) + " |",
        "| --- " * (len(names) + 1) + "|",
    ]
    lines += [
        f"| {row} | " + " | ".join(f"{100 * shares[name]:.1f}" for name in names) + " |"
        for row, shares in rows.items()
    ]
    return "\n".join(lines)


def _sample(comparison: Comparison) -> dict[str, list[Image.Image]]:
    """One picture a prompt by each way of sampling."""
    counts = [2**power for power in range(1, comparison.settings.candidates.bit_length())]
    # Guidance without a reference has no need of variants: see what the first does to the judges.
    ways = GUIDED if comparison.task.reward == "similarity" else {"guided": GUIDED["guided"]}
    return {
        SINGLE: comparison.best_of(1),
        **{name: comparison.guided(**options) for name, options in ways.items()},
        **{f"best of {count}": comparison.best_of(count) for count in counts},
    }


def _section(comparison: Comparison, rows: dict[str, list[Measured]]) -> str:
    risen = "; ".join(f"{name}: {raised(rows[SINGLE], rows[name])}" for name in GUIDED if name in rows)
    return (
        f"### {comparison.task.title.capitalize()}\n\n{table(comparison.task, rows)}\n\n"
        f"Prompts whose reward rose: {risen}.\n\n`{comparison.signature}`"
    )


def _sheet(comparison: Comparison, pictures: dict[str, list[Image.Image]]) -> Image.Image:
    last = f"best of {comparison.settings.candidates}"
    columns = {
        "reference": comparison.references,
        "unguided": pictures[SINGLE],
        "guided": pictures["guided"],
        last: pictures[last],
    }
    sheet: Image.Image = grid(columns, comparison.prompts[:_GRID_ROWS])
    return sheet


@torch.no_grad()
def _through(pipe: StableDiffusionPipeline, scenes: Sequence[Scene]) -> list[Image.Image]:
    parts = torch.split(pixels(scenes), 64)
    decoded = torch.cat([pipe.vae(normalised(part)).sample for part in parts])
    pictures: list[Image.Image] = pipe.image_processor.postprocess(decoded)
    return pictures


def _plain(found: dict[str, dict[str, list[Measured]]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    return {
        task: {name: [asdict(one) for one in measured] for name, measured in rows.items()}
        for task, rows in found.items()
    }


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="the pipeline's folder")
    parser.add_argument("--out", type=Path, required=True, help="the folder for figures, tables and the grid")
    parser.add_argument("--seeds", type=int, default=Settings.seeds, help="prompts of each task")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pipe = StableDiffusionPipeline.from_pretrained(arguments.model, trust_remote_code=False)
    judge = train_judge()
    print(judges(judge, pipe), end="\n\n")
    measure(pipe, judge, Settings(seeds=arguments.seeds), arguments.out)
    print((arguments.out / "tables.md").read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
