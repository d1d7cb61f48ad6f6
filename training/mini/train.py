"""Train `unisim-mini`, stage by stage.

python -m unisim_metrics.training.mini.train --data DATA --views VIEWS --out RUN
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from transformers import MobileNetV2Model

from unisim_metrics.training.mini import photos
from unisim_metrics.training.mini.align import CLASS_TEMPLATES, Captions, align, aligned_embeddings
from unisim_metrics.training.mini.perceptual import train_perceptual
from unisim_metrics.training.mini.recipe import RECIPE, Recipe, read_recipe
from unisim_metrics.training.mini.two_towers import build_tokenizer, build_two_towers, load, save
from unisim_metrics.training.mini.views import Views

log = logging.getLogger(__name__)


def train(root: Path, views_folder: Path, out: Path, recipe: Recipe) -> None:
    """Run the stages that have no result under `out` yet."""
    torch.manual_seed(recipe.seed)
    views = Views(root, views_folder)
    captions = Captions(root, views)
    if not (out / "align" / "model.safetensors").exists():
        tokenizer = build_tokenizer(vocabulary_texts(root), recipe)
        tower = MobileNetV2Model.from_pretrained(views_folder / "mobilenet")
        model = build_two_towers(tower, tokenizer, recipe)
        log.info("parameters: %d", model.num_parameters())
        align(model, tokenizer, views, captions, recipe)
        save(model, tokenizer, out / "align")
    if not (out / "perceptual" / "model.safetensors").exists():
        model, tokenizer = load(out / "align")
        train_perceptual(model, tokenizer, root, views, aligned_embeddings(model, views), captions, recipe)
        save(model, tokenizer, out / "perceptual")


def vocabulary_texts(root: Path) -> list[str]:
    """Return every text of the training sets."""
    captions = [text for texts in photos.flickr8k_captions(root, "train").values() for text in texts]
    labels = sorted(set(photos.tiny_imagenet_labels(root).values()))
    return captions + [template.format(label) for label in labels for template in CLASS_TEMPLATES]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data root, see photos.py")
    parser.add_argument("--views", type=Path, required=True, help="the folder that teacher.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=arguments.out / "train.log", level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    train(arguments.data, arguments.views, arguments.out, read_recipe(arguments.recipe))


if __name__ == "__main__":
    main()
