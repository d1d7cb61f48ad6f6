"""Folders of drawn scenes as three generators would make them, of which it is known which is better.

    python -m docs.experiments.worsened_scenes FOLDER

`fine`, `fair` and `poor` hold two pictures of each prompt, ever more distorted copies of those in `original`; `half-0`
and `half-1` are the halves of a folder that holds two others of each prompt. `prompts.csv` and `halves.csv` say what is
drawn; `fine.csv` and its kin name the first picture of each prompt with its original.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from unisim_metrics.benchmark.demo.distortions import DISTORTIONS, distort
from unisim_metrics.benchmark.demo.scenes import paint, random_scenes

LEVELS = {"fine": 1, "fair": 3, "poor": 5}
SEEDS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description="Drawn scenes as three generators would make them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=40, help="how many, at most 64")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder
    scenes = random_scenes(chosen.prompts, seed=0)
    kinds = list(DISTORTIONS)
    for name in (*LEVELS, "original", *(f"half-{seed}" for seed in range(SEEDS))):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = []
    for number, scene in enumerate(scenes):
        for seed in range(SEEDS):
            names.append(f"{number:02d}-{seed}")
            index = number * SEEDS + seed
            original = paint(replace(scene, seed=index))
            original.save(folder / "original" / f"{names[-1]}.png")
            for generator, level in LEVELS.items():
                worse = distort(original, kinds[number % len(kinds)], level, seed=index)
                worse.save(folder / generator / f"{names[-1]}.png")
            another = paint(replace(scene, seed=1000 + index))
            another.save(folder / f"half-{seed}" / f"{number:02d}.png")
    captions = [scene.caption for scene in scenes]
    _write(
        folder / "prompts.csv",
        ("name", "text"),
        zip(names, (c for c in captions for _ in range(SEEDS)), strict=True),
    )
    _write(folder / "halves.csv", ("name", "text"), ((f"{n:02d}", text) for n, text in enumerate(captions)))
    for generator in LEVELS:
        pairs = ((f"{generator}/{name}.png", f"original/{name}.png") for name in names[::SEEDS])
        _write(folder / f"{generator}.csv", ("image", "reference"), pairs)


def _write(table: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
