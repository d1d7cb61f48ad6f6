"""Stage 1: the text tower and a linear map of the teacher's features meet by contrast."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange
from transformers import CLIPTokenizer, VisionTextDualEncoderModel

from ..clip.optimization import Optimization, RunningMeans, Schedule
from . import photos
from .recipe import Recipe
from .two_towers import text_embeddings, tokenize
from .views import Views

log = logging.getLogger(__name__)
CLASS_TEMPLATES = ("a photo of a {}", "a close-up of a {}", "a {}", "there is a {} in the photo")


class Captions:
    """Views with a text each: the captions of Flickr8k, the class names of Tiny-ImageNet."""

    def __init__(self, root: Path, views: Views) -> None:
        self.texts: list[list[str]] = []
        self.rows: list[list[int]] = []
        self.labels: list[str] = []
        for path, captions in photos.flickr8k_captions(root, "train").items():
            self._add(path.relative_to(root), captions, views, label=str(path))
        self.captioned = len(self.texts)
        for path, label in photos.tiny_imagenet_labels(root).items():
            self._add(path.relative_to(root), [text.format(label) for text in CLASS_TEMPLATES], views, label)

    def _add(self, path: Path, texts: list[str], views: Views, label: str) -> None:
        self.texts.append(texts)
        self.rows.append(views.rows_of[str(path)])
        self.labels.append(label)

    def draw(
        self, caption_batch: int, class_batch: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[str], Tensor]:
        """Draw view-text pairs, so many by a caption and so many by a class name, in one shuffled batch.

        Returns:
            Rows of the views, their texts and a bool matrix `[N, N]` of who may match whom.
        """
        captions = rng.choice(self.captioned, size=caption_batch, replace=False)
        classes = rng.choice(np.arange(self.captioned, len(self.texts)), size=class_batch, replace=False)
        chosen = rng.permutation(np.concatenate([captions, classes]))
        rows = np.array([rng.choice(self.rows[i]) for i in chosen])
        texts = [str(rng.choice(self.texts[i])) for i in chosen]
        labels = np.unique([self.labels[i] for i in chosen], return_inverse=True)[1]
        return rows, texts, torch.from_numpy(labels[:, None] == labels[None, :])


def contrastive_losses(
    images: Tensor, texts: Tensor, matches: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE with several right answers: the text of each image, and the image of each text.

    Args:
        images: Unit length, `[N, D]`.
        texts: Unit length, `[N, D]`.
        matches: Who may match whom, symmetric bool `[N, N]`.
        temperature: What the similarities are divided by.
    """
    logits = images @ texts.T / temperature
    target = matches / matches.sum(dim=1, keepdim=True)
    return F.cross_entropy(logits, target), F.cross_entropy(logits.T, target)


def align(
    model: VisionTextDualEncoderModel,
    tokenizer: CLIPTokenizer,
    views: Views,
    captions: Captions,
    recipe: Recipe,
) -> None:
    """Train the text tower and both projections of `model` in place."""
    settings = recipe.align
    rng = np.random.default_rng(recipe.seed)
    forget_mean(model.visual_projection, views.features.mean(dim=0))
    centred = F.normalize(views.features - views.features.mean(dim=0), dim=-1)
    modules = nn.ModuleList([model.visual_projection, model.text_model, model.text_projection])
    schedule = Schedule(settings.learning_rate, settings.weight_decay, settings.warmup_steps, settings.steps)
    optimization = Optimization(modules, schedule)
    means = RunningMeans(bar := trange(settings.steps, desc="align", mininterval=20), log, every=25)
    for step in bar:
        rows, texts, matches = captions.draw(settings.caption_batch, settings.class_batch, rng)
        images = F.normalize(model.visual_projection(views.features[rows]), dim=-1)
        embedded = text_embeddings(model, tokenize(tokenizer, texts))
        contrast = torch.stack(contrastive_losses(images, embedded, matches, settings.temperature)).mean()
        relation = F.mse_loss(images @ images.T, centred[rows] @ centred[rows].T)
        optimization.step(contrast + settings.relation_weight * relation)
        means.add(step, {"contrast": contrast, "relation": relation})


@torch.no_grad()
def forget_mean(projection: nn.Linear, mean: Tensor) -> None:
    """Start a projection as an orthogonal map that is blind to the direction that all features share.

    Without it, the features of any two photos are alike: they are averages of values that are never negative.
    """
    nn.init.orthogonal_(projection.weight)
    shared = F.normalize(mean, dim=0)
    projection.weight -= torch.outer(projection.weight @ shared, shared)


@torch.no_grad()
def aligned_embeddings(model: VisionTextDualEncoderModel, views: Views) -> Tensor:
    """Return what the teacher's features of every view become, unit length, `[N, D]`."""
    return F.normalize(model.visual_projection(views.features), dim=-1)
