"""A run of `unisim-mini` from its recipe to the folder that it leaves: what is trained on, what was done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from ..environment import describe_environment, write_record
from ..errors import TrainingError
from . import photos
from .recipe import Recipe
from .train import train


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the recipe trains on.

    Attributes:
        rows: Dataset, photos, texts and human answers, one row a dataset.
        data_hash: SHA-256 of the names of all photos, with their texts and answers.
    """

    rows: list[dict[str, Any]]
    data_hash: str


def plan(root: Path) -> Plan:
    """Read the annotations; no image is opened.

    Raises:
        FileNotFoundError: If a part of the data is missing.
    """
    captions = photos.flickr8k_captions(root, "train")
    labels = photos.tiny_imagenet_labels(root, held_out=False)
    sharp = photos.bsds_photos(root, held_out=False)
    lights = photos.material_images(root)
    materials = set(range(len(lights[0]))) - photos.held_out_materials(len(lights[0]))
    answers = photos.material_triplets(root, materials)
    rendered = photos.training_renderings(root)
    counted = {
        "flickr8k": (len(captions), sum(map(len, captions.values())), 0),
        "tiny-imagenet-60": (len(labels), len(set(labels.values())), 0),
        "bsds400": (len(sharp), 0, 0),
        "material-2afc": (len(rendered), 0, len(answers)),
    }
    rows = [
        {"dataset": name, "photos": images, "texts": texts, "answers": judged}
        for name, (images, texts, judged) in counted.items()
    ]
    everything = {
        "captions": {_name(path, root): texts for path, texts in captions.items()},
        "labels": {_name(path, root): label for path, label in labels.items()},
        "sharp": [_name(path, root) for path in sharp],
        "materials": [_name(path, root) for path in rendered],
        "answers": [dataclasses.astuple(answer) for answer in answers],
    }
    content = json.dumps(everything, sort_keys=True).encode()
    return Plan(rows, hashlib.sha256(content).hexdigest())


def start(recipe: Recipe, root: Path, out: Path, *, resume: bool = False, workers: int = 2) -> Path:
    """Run the recipe under the folder `out`, with a log and a record of what is done.

    Args:
        recipe: What to do.
        root: The data root.
        out: The run's folder.
        resume: Go on after the last stage that stands there.
        workers: Processes in which the tower's lower blocks see the photos.

    Returns:
        The folder of the model as it ships.

    Raises:
        TrainingError: If `out` holds a run and `resume` is not asked for, or holds that of another recipe.
        FileNotFoundError: If a part of the data is missing.
    """
    written = out / "recipe.json"
    chosen = dataclasses.asdict(recipe)
    if written.is_file():
        if not resume:
            raise TrainingError(f"The folder {out} holds a run: resume it, or choose another folder.")
        if json.loads(written.read_text(encoding="utf-8")) != chosen:
            raise TrainingError(
                f"The run in {out} is of another recipe, see {written}: resume it with the same."
            )
    planned = plan(root)
    data = {"data": planned.rows, "data_hash": planned.data_hash}
    write_record(out, chosen, describe_environment() | data)
    handler = logging.FileHandler(out / "train.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    logger = logging.getLogger("unisim_metrics.training.mini")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        return train(root, out, recipe, workers)
    finally:
        logger.removeHandler(handler)
        handler.close()


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
