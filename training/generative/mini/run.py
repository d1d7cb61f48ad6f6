"""A run of `unisim-ll-mini` from its recipe to the folder that it leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from ...checkpoints import whole_folder
from ...environment import check_recipe
from .. import recipe as generative
from .. import run
from .model import write_base
from .recipe import Recipe
from .triplets import write_triplets

log = logging.getLogger(__name__)

BASE, TRIPLETS, LETTERS = "base", "triplets", "letters"


def start(recipe: Recipe, root: Path, out: Path, *, resume: bool = False, workers: int = 0) -> Path:
    """Run the recipe under the folder `out`; what stands there already is not made again.

    `out` becomes the run of the last stage, beside what the stages before it left: `base`, `triplets`, `letters`.

    Args:
        recipe: What to do.
        root: The data root.
        out: The run's folder.
        resume: Go on after what stands there.
        workers: Processes that prepare batches ahead.

    Returns:
        The folder of the model.

    Raises:
        TrainingError: If `out` holds a run and `resume` is not asked for, or holds that of another recipe.
        FileNotFoundError: If a part of the data is missing.
    """
    written = out / "mini.json"
    check_recipe(out, recipe.to_dict(), resume, written.name)
    out.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(recipe.to_dict(), indent=2) + "\n", encoding="utf-8")
    with _once(out / TRIPLETS, "The triplets") as folder:
        if folder is not None:
            write_triplets(root, folder, recipe.triplets, recipe.seed)
    with _once(out / BASE, "The untrained model") as folder:
        if folder is not None:
            write_base(recipe, _tower(recipe), folder)
    base, triplets, letters = out / BASE, out / TRIPLETS, out / LETTERS
    if not (letters / "model").is_dir():
        _train(recipe.stage("letters", base, triplets), triplets, letters, resume, workers)
    return _train(recipe.stage("judgments", letters / "model", triplets), triplets, out, resume, workers)


def _train(stage: generative.Recipe, triplets: Path, out: Path, resume: bool, workers: int) -> Path:
    trainer = run.start(stage, triplets, out, resume=resume, workers=workers)
    run.train(trainer, resume=resume)
    folder: Path = run.finish(trainer)
    return folder


def _tower(recipe: Recipe) -> Path:
    if recipe.tower:
        return Path(recipe.tower)
    return Path(str(resources.files("unisim_metrics") / "assets" / "unisim-mini"))


@contextmanager
def _once(folder: Path, what: str) -> Iterator[Path | None]:
    """Give a folder to write to, or None where it stands already."""
    if folder.is_dir():
        yield None
        return
    with whole_folder(folder, what) as partial:
        yield partial
