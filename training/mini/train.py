"""Train `unisim-mini`, stage by stage."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from transformers import MobileNetV2Model

from ..checkpoints import whole_folder
from . import photos
from .align import CLASS_TEMPLATES, Captions, align, aligned_embeddings
from .export import export
from .perceptual import train_perceptual
from .recipe import Recipe
from .teacher import write_views
from .two_towers import build_tokenizer, build_two_towers, load, save
from .views import Views, plan_views

log = logging.getLogger(__name__)


def train(root: Path, out: Path, recipe: Recipe, workers: int = 2) -> Path:
    """Run the stages that have no result under `out` yet.

    Args:
        root: The data root, see `photos.py`.
        out: The run's folder: `views/`, `align/`, `perceptual/` and `model/`, one a stage.
        recipe: What is done.
        workers: Processes in which the teacher reads the photos.

    Returns:
        The folder of the model as it ships.
    """
    views, captions = train_first_stage(root, out, recipe, workers)
    if not (out / "perceptual").is_dir():
        model, tokenizer = load(out / "align")
        train_perceptual(model, tokenizer, root, views, aligned_embeddings(model, views), captions, recipe)
        with whole_folder(out / "perceptual", "The second stage") as folder:
            save(model, tokenizer, folder)
    if not (out / "model").is_dir():
        with whole_folder(out / "model", "The model") as folder:
            export(out / "perceptual", folder)
    return out / "model"


def train_first_stage(root: Path, out: Path, recipe: Recipe, workers: int = 2) -> tuple[Views, Captions]:
    """Run what comes before the second stage, where it has no result yet; return what that stage trains on.

    Raises:
        FileNotFoundError: If there is no teacher, or a part of the data is missing.
        TrainingError: If a result cannot be written.
    """
    torch.manual_seed(recipe.seed)
    if not (out / "views").is_dir():
        teacher = root / recipe.teacher.file
        if not teacher.is_file():
            raise FileNotFoundError(f"The teacher's TFLite file must be at {teacher}, but there is none.")
        plan = plan_views(root, recipe.teacher.views, recipe.teacher.bsds_views, recipe.seed)
        with whole_folder(out / "views", "What the teacher sees") as folder:
            write_views(plan, root, teacher, folder, workers)
    views = Views(root, out / "views")
    captions = Captions(root, views)
    if not (out / "align").is_dir():
        tokenizer = build_tokenizer(vocabulary_texts(root), recipe)
        tower = MobileNetV2Model.from_pretrained(out / "views" / "mobilenet", trust_remote_code=False)
        model = build_two_towers(tower, tokenizer, recipe)
        log.info("parameters: %d", model.num_parameters())
        align(model, tokenizer, views, captions, recipe)
        with whole_folder(out / "align", "The first stage") as folder:
            save(model, tokenizer, folder)
    return views, captions


def vocabulary_texts(root: Path) -> list[str]:
    """Return every text of the training sets."""
    captions = [text for texts in photos.flickr8k_captions(root, "train").values() for text in texts]
    labels = sorted(set(photos.tiny_imagenet_labels(root).values()))
    return captions + [template.format(label) for label in labels for template in CLASS_TEMPLATES]
