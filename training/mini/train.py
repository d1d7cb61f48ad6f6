"""Train `unisim-mini`, stage by stage."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel, EfficientNetModel, PreTrainedTokenizerFast

from ..checkpoints import whole_folder
from .activations import read_activations, read_features, write_activations
from .bridge import train_bridge
from .corpus import Corpus, TextBank, corpus_texts
from .efficientnet import build_lite2
from .export import export
from .ladders import MaterialTriplets, find_ladders
from .minilm import build_text_tower, pooled_tokens
from .perceptual import train_perceptual
from .recipe import Recipe
from .two_towers import build_two_towers, load, save, start_projections
from .views import plan_views, read_plan
from .vocabulary import build_tokenizer
from .weights import read_lite2, unpack_minilm

log = logging.getLogger(__name__)
NOUNS = "wordnet/data.noun"


def train(root: Path, out: Path, recipe: Recipe, workers: int = 2) -> Path:
    """Run the stages that have no result under `out` yet.

    Args:
        root: The data root, see `photos.py`.
        out: The run's folder: `towers/`, `views/`, `texts/`, `bridge/`, `perceptual/` and `model/`, one a stage.
        recipe: What is done.
        workers: Processes in which the tower's lower blocks see the photos.

    Returns:
        The folder of the model as it ships.

    Raises:
        ModuleNotFoundError: If the packages that carry the towers are missing.
        FileNotFoundError: If a part of the data is missing.
        TrainingError: If a result cannot be written.
    """
    corpus = train_bridge_stage(root, out, recipe, workers)
    if not (out / "perceptual").is_dir():
        torch.manual_seed(recipe.seed)
        model, tokenizer = load(out / "bridge")
        materials = MaterialTriplets(root, corpus.views)
        activations = read_activations(out / "views")
        train_perceptual(model, corpus, activations, find_ladders(corpus.views), materials, recipe)
        with whole_folder(out / "perceptual", "The second stage") as folder:
            save(model, tokenizer, folder)
    if not (out / "model").is_dir():
        with whole_folder(out / "model", "The model") as folder:
            export(out / "perceptual", folder)
    return out / "model"


def train_bridge_stage(root: Path, out: Path, recipe: Recipe, workers: int = 2) -> Corpus:
    """Run what comes before the second stage, where it has no result yet; return what that stage draws from."""
    corpus = prepare(root, out, recipe, workers)
    if not (out / "bridge").is_dir():
        torch.manual_seed(recipe.seed)
        image_tower = EfficientNetModel.from_pretrained(out / "towers" / "image", trust_remote_code=False)
        text_tower = BertModel.from_pretrained(out / "towers" / "text", trust_remote_code=False)
        model = build_two_towers(image_tower, text_tower, recipe.bridge.width).eval()
        start_projections(model, corpus.classifier[0], corpus.features)
        train_bridge(model, corpus, recipe)
        with whole_folder(out / "bridge", "The first stage") as folder:
            save(model, _read_tokenizer(out), folder)
    return corpus


def prepare(root: Path, out: Path, recipe: Recipe, workers: int = 2) -> Corpus:
    """Run what needs no training, where it has no result yet, and read what both stages draw from."""
    nouns = root / NOUNS
    if not nouns.is_file():
        raise FileNotFoundError(
            f"WordNet's nouns must be at {nouns}, but there are none (Debian's wordnet-base has them as"
            " /usr/share/wordnet/data.noun)."
        )
    if not (out / "towers").is_dir():
        with whole_folder(out / "towers", "The towers as they came") as folder:
            _write_towers(recipe, folder)
    towers = out / "towers"
    classifier = load_file(towers / "classifier.safetensors")
    if not (out / "views").is_dir():
        views = plan_views(root, recipe.views, recipe.seed)
        with whole_folder(out / "views", "What the lower blocks see") as folder:
            write_activations(views, root, towers / "image", recipe.views.frozen_blocks, folder, workers)
    if not (out / "texts").is_dir():
        texts = corpus_texts(root, nouns, recipe.texts, recipe.seed)
        text_tower = BertModel.from_pretrained(towers / "text", trust_remote_code=False).eval()
        with whole_folder(out / "texts", "What MiniLM reads") as folder:
            np.save(folder / "pooled.npy", pooled_tokens(text_tower, _read_tokenizer(out), texts).numpy())
            (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    texts = json.loads((out / "texts" / "texts.json").read_text(encoding="utf-8"))
    bank = TextBank(texts, torch.from_numpy(np.load(out / "texts" / "pooled.npy")))
    views, features = read_plan(out / "views"), read_features(out / "views")
    return Corpus(root, views, features, (classifier["weight"], classifier["bias"]), bank, nouns)


def _write_towers(recipe: Recipe, folder: Path) -> None:
    tower, weight, bias = build_lite2(read_lite2())
    tower.save_pretrained(folder / "image")
    save_file({"weight": weight, "bias": bias}, folder / "classifier.safetensors")
    unpack_minilm(folder / "minilm")
    build_text_tower(folder / "minilm").save_pretrained(folder / "text")
    build_tokenizer(folder / "minilm" / "tokenizer.json", recipe.texts.context_length).save_pretrained(
        folder / "tokenizer"
    )


def _read_tokenizer(out: Path) -> PreTrainedTokenizerFast:
    folder = out / "towers" / "tokenizer"
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        folder, trust_remote_code=False
    )
    return tokenizer
