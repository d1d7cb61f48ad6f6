"""What transfers: the second stage again and again without a task or a dataset, over several seeds.

python -m docs.experiments.ablations --data DATA --out ABLATIONS

The first stage is run under `ABLATIONS/run`, or taken from the run that `--run` names. Each row and seed writes its
figures under `ABLATIONS` and is skipped when they stand there; the table is printed from all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from unisim_metrics import load_model
from unisim_metrics.training.mini.activations import read_activations
from unisim_metrics.training.mini.corpus import Corpus
from unisim_metrics.training.mini.evaluate import evaluate
from unisim_metrics.training.mini.export import export
from unisim_metrics.training.mini.ladders import MaterialTriplets, find_ladders
from unisim_metrics.training.mini.perceptual import train_perceptual
from unisim_metrics.training.mini.recipe import Recipe, read_recipe
from unisim_metrics.training.mini.train import train_bridge_stage
from unisim_metrics.training.mini.two_towers import load, save
from unisim_metrics.training.recipe import read_table

from .intervals import interval

ABLATIONS = Path(__file__).parent / "ablations.toml"
BASE = "first stage alone"
COLUMNS = {
    "image-image, distortions": ("nearer of two distortions",),
    "image-image, materials": ("held-out materials",),
    "image-text": ("right photo against a random one",),
    "caption": ("right caption against a random one",),
    "quality": ("severity by quality",),
    "attributes": tuple(
        f"severity by {name}" for name in ("brightness", "colorfulness", "contrast", "sharpness")
    ),
    "odd-one-out": ("odd one out, CIFAR-100",),
}


@dataclass(frozen=True)
class Ablations:
    """The rows of the table: what each changes in the settings that all have in common."""

    recipe: str
    seeds: tuple[int, ...]
    share: float
    settings: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]

    def of(self, row: str, seed: int) -> Recipe:
        """Return the recipe of a row and seed."""
        return read_recipe(self.recipe, [*self.settings, *self.rows[row], f"seed={seed}"])


def read_ablations(path: Path = ABLATIONS) -> Ablations:
    """Read the rows from a TOML file."""
    values = read_table(path)
    return Ablations(
        recipe=values["recipe"],
        seeds=tuple(values["seeds"]),
        share=values["share"],
        settings=tuple(values["settings"]),
        rows={row: tuple(settings) for row, settings in values["rows"].items()},
    )


def measure(ablations: Ablations, root: Path, run: Path, out: Path) -> dict[str, list[dict[str, float]]]:
    """Train and evaluate what has no figures under `out` yet, from the first stage in the folder `run`.

    Returns:
        The figures of each row, one dictionary a seed; of the first stage alone, which has no seed, one.
    """
    corpus = train_bridge_stage(root, run, read_recipe(ablations.recipe))
    figures: dict[str, list[dict[str, float]]] = {}
    for row in (BASE, *ablations.rows):
        figures[row] = []
        for seed in ablations.seeds[:1] if row == BASE else ablations.seeds:
            path = out / row.replace(":", "") / f"{seed}.json"
            if not path.is_file():
                recipe = ablations.of(next(iter(ablations.rows)) if row == BASE else row, seed)
                stage = replace(recipe.perceptual, steps=0) if row == BASE else recipe.perceptual
                measured = _figures(replace(recipe, perceptual=stage), root, run, corpus, ablations.share)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
            figures[row].append(json.loads(path.read_text(encoding="utf-8")))
    return figures


def _figures(recipe: Recipe, root: Path, run: Path, corpus: Corpus, share: float) -> dict[str, float]:
    """Repeat the second stage by a recipe and evaluate it as it would ship."""
    torch.manual_seed(recipe.seed)
    model, tokenizer = load(run / "bridge")
    ladders, materials = find_ladders(corpus.views), MaterialTriplets(root, corpus.views)
    train_perceptual(model, corpus, read_activations(run / "views"), ladders, materials, recipe)
    with tempfile.TemporaryDirectory() as folder:
        save(model, tokenizer, Path(folder) / "stage")
        export(Path(folder) / "stage", Path(folder) / "model")
        figures = evaluate(load_model(Path(folder) / "model"), root, share=share)
    return {name: judged.share for name, judged in figures.items()}


def table(figures: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Write the table in Markdown: means in per cent with 95 % intervals over the seeds.

    A difference to the first trained row, seed by seed, whose interval leaves out 0 is marked.
    """
    reference = next(_columns(seeds) for row, seeds in figures.items() if row != BASE)
    lines = ["| | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for row, seeds in figures.items():
        values = _columns(seeds)
        cells = []
        for column in range(len(COLUMNS)):
            mean, half = interval(values[:, column])
            cell = f"{mean:.1f}" if row == BASE else f"{mean:.1f} ± {half:.1f}"
            if len(values) == len(reference):
                difference, slack = interval(values[:, column] - reference[:, column])
                cell = f"**{cell}**" if abs(difference) > slack else cell
            cells.append(cell)
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _columns(seeds: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Per cent, `[seeds, columns]`."""
    return 100 * np.array(
        [[np.mean([figures[name] for name in names]) for names in COLUMNS.values()] for figures in seeds]
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data root, see photos.py")
    parser.add_argument("--run", type=Path, help="folder of a run of unisim-mini; OUT/run if left out")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figures")
    parser.add_argument("--rows", type=Path, default=ABLATIONS, help="the TOML file of the rows")
    arguments = parser.parse_args()
    run = arguments.run or arguments.out / "run"
    print(table(measure(read_ablations(arguments.rows), arguments.data, run, arguments.out)))


if __name__ == "__main__":
    main()
