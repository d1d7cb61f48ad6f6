"""Stage 3: both towers by the paper's hinge objective, with captions by contrast and the teacher as an anchor."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from tqdm import trange
from transformers import CLIPTokenizer, MobileNetV2Model, VisionTextDualEncoderModel

from unisim_metrics.functional import cosine_similarity, hinge_loss
from unisim_metrics.images import Preprocessing, load_image, preprocess
from unisim_metrics.prompts import WORDINGS, Prompts
from unisim_metrics.tasks import Attribute

from ..clip.optimization import Optimization, RunningMeans, Schedule
from ..distortions import ATTRIBUTE_LOST, DISTORTIONS, Name
from . import photos
from .align import Captions, contrastive_losses
from .recipe import Perceptual, Recipe
from .two_towers import image_embeddings, preprocessing, text_embeddings, tokenize, vision_config
from .views import Views

log = logging.getLogger(__name__)


class SeverityTriplets:
    """A photo with two degrees of one distortion: `[original, mild, severe]`, uint8."""

    def __init__(self, root: Path) -> None:
        self.sharp = [load_image(path) for path in photos.bsds_photos(root, held_out=False)]
        self.small = list(photos.flickr8k_captions(root, "train"))

    def draw(
        self, rng: np.random.Generator, sharp_share: float, smallest_crop: int
    ) -> tuple[list[Tensor], Name]:
        """Draw a triplet, by `sharp_share` from a crop of a sharp photo, and the name of its distortion."""
        if rng.random() < sharp_share:
            photo = random_crop(self.sharp[rng.integers(len(self.sharp))], smallest_crop, rng)
        else:
            photo = load_image(self.small[rng.integers(len(self.small))])
        name = list(DISTORTIONS)[rng.integers(len(DISTORTIONS))]
        severe = rng.uniform(0.25, 1.0)
        mild = rng.uniform(0.05, severe - 0.15)
        # The same noise in both, so that only its strength differs.
        seed = int(rng.integers(2**31))
        degrees = [DISTORTIONS[name](photo, degree, np.random.default_rng(seed)) for degree in (mild, severe)]
        return [photo, *degrees], name


def random_crop(photo: Tensor, smallest: int, rng: np.random.Generator) -> Tensor:
    """Cut a square of random side, at least `smallest`, out of a uint8 photo `[3, H, W]`."""
    height, width = photo.shape[-2:]
    side = int(rng.integers(min(smallest, height, width), min(height, width) + 1))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    return photo[:, top : top + side, left : left + side]


class MaterialTriplets:
    """Renderings of materials by human answers, `[reference, closer, farther]`, none of them held out."""

    def __init__(self, root: Path, prepared: Preprocessing) -> None:
        folders = photos.material_images(root)
        allowed = set(range(len(folders[0]))) - photos.held_out_materials(len(folders[0]))
        self.answers = photos.material_triplets(root, allowed)
        self.pixels = [preprocess(folder, prepared) for folder in folders]

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """Draw `count` triplets, normalised pixels `[count, 3, 3, S, S]`, each under one light, some mirrored."""
        triplets = []
        for index in rng.choice(len(self.answers), size=count, replace=False):
            answer = self.answers[index]
            pixels = self.pixels[rng.integers(len(self.pixels))][
                [answer.reference, answer.closer, answer.farther]
            ]
            triplets.append(pixels.flip(-1) if rng.random() < 0.5 else pixels)
        return torch.stack(triplets)


def train_perceptual(
    model: VisionTextDualEncoderModel,
    tokenizer: CLIPTokenizer,
    root: Path,
    views: Views,
    aligned: Tensor,
    captions: Captions,
    recipe: Recipe,
) -> None:
    """Train both towers of `model` in place; `aligned` is the teacher's `[N, D]` of every view."""
    settings = recipe.perceptual
    vision_config(model).image_size = settings.image_size
    prepared = preprocessing(model)
    severities, materials = SeverityTriplets(root), MaterialTriplets(root, prepared)
    rng = np.random.default_rng((recipe.seed, 3))
    freeze_blocks(model, settings.frozen_blocks)
    schedule = Schedule(settings.learning_rate, settings.weight_decay, settings.warmup_steps, settings.steps)
    optimization = Optimization(model, schedule, max_norm=1.0)
    prompt_texts = [
        text
        for prompts in WORDINGS[settings.prompts].values()
        for text in (prompts.naive, prompts.positive, prompts.negative)
    ]
    prompt_tokens = tokenize(tokenizer, prompt_texts)
    means = RunningMeans(bar := trange(settings.steps, desc="perceptual", mininterval=20), log, every=25)
    for step in bar:
        rows, texts, matches = captions.draw(settings.caption_batch, settings.class_batch, rng)
        seen = rows[: settings.photo_batch]
        photographed = preprocess(views.pixels(seen, prepared.size, rng), prepared)
        judged = materials.draw(settings.material_batch, rng)
        drawn = [
            severities.draw(rng, settings.sharp_share, settings.smallest_crop)
            for _ in range(settings.distortion_batch)
        ]
        distorted = preprocess([image for triplet, _ in drawn for image in triplet], prepared)

        embeddings = image_embeddings(model, torch.cat([photographed, judged.flatten(0, 1), distorted]))
        photographs, material, severity = embeddings.split(
            [len(photographed), judged.shape[:2].numel(), len(distorted)]
        )
        embedded = dict(zip(prompt_texts, text_embeddings(model, prompt_tokens), strict=True))
        # Photos beyond those that passed the tower are there as the teacher saw them: more to tell apart.
        pairs = torch.cat([photographs, aligned[rows[len(seen) :]]])
        captioned = text_embeddings(model, tokenize(tokenizer, texts))
        caption, image_text = contrastive_losses(pairs, captioned, matches, settings.temperature)
        losses = {
            "caption": caption,
            "image_text": image_text,
            "anchor": 1 - (photographs * aligned[seen]).sum(dim=-1).mean(),
            **_hinges(material, severity, [name for _, name in drawn], embedded, settings),
        }
        weighted = [getattr(settings.weights, name) * loss for name, loss in losses.items()]
        optimization.step(torch.stack(weighted).sum())
        means.add(step, losses)


def freeze_blocks(model: VisionTextDualEncoderModel, count: int) -> None:
    """Keep the image tower's stem and its first `count` blocks as they are, if `count` is above 0."""
    tower = cast(MobileNetV2Model, model.vision_model)
    for block in [tower.conv_stem, *list(tower.layer)[:count]] if count else []:
        block.requires_grad_(False)


def _hinges(
    material: Tensor, severity: Tensor, names: list[Name], embedded: dict[str, Tensor], settings: Perceptual
) -> dict[str, Tensor]:
    prompts = WORDINGS[settings.prompts]
    material, severity = material.unflatten(0, (-1, 3)), severity.unflatten(0, (-1, 3))
    return {
        "material": _closer_loss(material, settings.margin),
        "similarity": _closer_loss(severity, settings.margin),
        "quality": _quality_loss(severity, prompts["quality"], embedded, settings.margin),
        "attributes": _attribute_loss(severity, names, prompts, embedded, settings.margin),
    }


def _closer_loss(triplets: Tensor, margin: float) -> Tensor:
    """Hinge on `[N, 3, D]` = (reference, closer, farther)."""
    scores = cosine_similarity(triplets[:, :1], triplets[:, 1:])
    return hinge_loss(scores, torch.zeros(len(scores), dtype=torch.long), margin)


def _prompt_scores(images: Tensor, prompts: Prompts, embedded: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores of `images` by the naive prompt, and the difference over the antonym pair."""
    naive = cosine_similarity(images, embedded[prompts.naive])
    pair = cosine_similarity(images, embedded[prompts.positive]) - cosine_similarity(
        images, embedded[prompts.negative]
    )
    return naive, pair


def _quality_loss(triplets: Tensor, prompts: Prompts, embedded: dict[str, Tensor], margin: float) -> Tensor:
    """Hinge on quality: original over mild over severe, and every original over every severe photo."""
    losses = []
    for scores in _prompt_scores(triplets, prompts, embedded):
        first = torch.zeros(len(scores), dtype=torch.long)
        across = torch.stack(torch.broadcast_tensors(scores[:, :1], scores[:, 2]), dim=-1).flatten(0, 1)
        losses += [
            hinge_loss(scores[:, :2], first, margin),
            hinge_loss(scores[:, 1:], first, margin),
            hinge_loss(across, torch.zeros(len(across), dtype=torch.long), margin) / 2,
        ]
    return torch.stack(losses).sum() / 2


def _attribute_loss(
    triplets: Tensor,
    names: list[Name],
    prompts: Mapping[Attribute, Prompts],
    embedded: dict[str, Tensor],
    margin: float,
) -> Tensor:
    """Hinge on the attribute that a distortion takes away: original over severe."""
    losses = []
    for triplet, name in zip(triplets, names, strict=True):
        if name in ATTRIBUTE_LOST:
            for scores in _prompt_scores(triplet, prompts[ATTRIBUTE_LOST[name]], embedded):
                losses.append(hinge_loss(scores[None, ::2], torch.zeros(1, dtype=torch.long), margin))
    return torch.stack(losses).sum() / (2 * len(triplets)) if losses else triplets.sum() * 0
