"""Stage 3: both towers by the paper's hinge objective, with captions by contrast and the teacher as an anchor."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import trange
from transformers import CLIPModel, CLIPTokenizer

from unisim_metrics.functional import cosine_similarity, hinge_loss
from unisim_metrics.images import Preprocessing, load_image, preprocess
from unisim_metrics.prompts import DEFAULT_PROMPTS, Prompts
from unisim_metrics.tasks import Attribute
from unisim_metrics.training.distortions import DISTORTIONS, Name
from unisim_metrics.training.mini import photos
from unisim_metrics.training.mini.align import Captions, contrastive_loss
from unisim_metrics.training.mini.recipe import PerceptualPhase, Recipe
from unisim_metrics.training.mini.student import image_features, normalize_pixels, text_embeddings, tokenize
from unisim_metrics.training.mini.views import Views
from unisim_metrics.training.optimization import Optimization, RunningMeans, Schedule

log = logging.getLogger(__name__)

# The attribute that each of these distortions takes away.
ATTRIBUTE_LOST: dict[Name, Attribute] = {
    "blur": "sharpness",
    "contrast": "contrast",
    "saturation": "colorfulness",
    "darken": "brightness",
}
PROMPT_TEXTS = [
    text
    for prompts in DEFAULT_PROMPTS.values()
    for text in (prompts.naive, prompts.positive, prompts.negative)
]


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

    def __init__(self, root: Path, size: int) -> None:
        folders = photos.material_images(root)
        allowed = set(range(len(folders[0]))) - photos.held_out_materials(len(folders[0]))
        self.answers = photos.material_triplets(root, allowed)
        self.pixels = [preprocess(folder, Preprocessing(size=size)) for folder in folders]

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
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    root: Path,
    views: Views,
    aligned: Tensor,
    captions: Captions,
    recipe: Recipe,
) -> None:
    """Train both towers of `model` in place; `aligned` is the teacher's `[N, D]` of every view."""
    severities, materials = SeverityTriplets(root), MaterialTriplets(root, recipe.vision["image_size"])
    for index, phase in enumerate(recipe.perceptual.phases):
        rng = np.random.default_rng((recipe.seed, 3 + index))
        _run_phase(model, tokenizer, views, aligned, captions, severities, materials, recipe, phase, rng)


def _run_phase(
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    views: Views,
    aligned: Tensor,
    captions: Captions,
    severities: SeverityTriplets,
    materials: MaterialTriplets,
    recipe: Recipe,
    phase: PerceptualPhase,
    rng: np.random.Generator,
) -> None:
    settings = recipe.perceptual
    size = recipe.vision["image_size"]
    prompt_tokens = tokenize(tokenizer, PROMPT_TEXTS)
    schedule = Schedule(phase.learning_rate, settings.weight_decay, phase.warmup_steps, phase.steps)
    optimization = Optimization(model, schedule, max_norm=1.0)
    means = RunningMeans(bar := trange(phase.steps, desc="perceptual", mininterval=20), log, every=25)
    for step in bar:
        rows, texts, matches = captions.draw(phase.caption_batch, rng)
        order = np.argsort(rows)
        captioned = normalize_pixels(views.batch(rows, rng).pixels)[torch.from_numpy(np.argsort(order))]
        judged = materials.draw(phase.material_batch, rng)
        drawn = [
            severities.draw(rng, phase.sharp_share, phase.smallest_crop)
            for _ in range(phase.distortion_batch)
        ]
        distorted = preprocess([image for triplet, _ in drawn for image in triplet], Preprocessing(size=size))

        pixels = torch.cat([captioned, judged.flatten(0, 1), distorted])
        embeddings = image_features(model, pixels)[0]
        pairs, material, severity = embeddings.split(
            [len(captioned), judged.shape[:2].numel(), len(distorted)]
        )
        prompts = dict(zip(PROMPT_TEXTS, text_embeddings(model, prompt_tokens), strict=True))
        names = [name for _, name in drawn]
        margin = settings.margin
        losses = {
            "contrast": contrastive_loss(
                pairs, text_embeddings(model, tokenize(tokenizer, texts)), matches, settings.temperature
            ),
            "anchor": 1 - (pairs * aligned[rows]).sum(dim=-1).mean(),
            "material": _closer_loss(material.unflatten(0, (-1, 3)), margin),
            "similarity": _closer_loss(severity.unflatten(0, (-1, 3)), margin),
            "quality": _quality_loss(severity.unflatten(0, (-1, 3)), prompts, margin),
            "attributes": _attribute_loss(severity.unflatten(0, (-1, 3)), names, prompts, margin),
        }
        hinges = torch.stack(
            [losses[name] for name in ("material", "similarity", "quality", "attributes")]
        ).sum()
        loss = (
            settings.hinge_weight * hinges
            + phase.contrast_weight * losses["contrast"]
            + settings.anchor_weight * losses["anchor"]
        )
        optimization.step(loss)
        means.add(step, losses)


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


def _quality_loss(triplets: Tensor, embedded: dict[str, Tensor], margin: float) -> Tensor:
    """Hinge on quality: original over mild over severe, and every original over every severe photo."""
    losses = []
    for scores in _prompt_scores(triplets, DEFAULT_PROMPTS["quality"], embedded):
        first = torch.zeros(len(scores), dtype=torch.long)
        across = torch.stack(torch.broadcast_tensors(scores[:, :1], scores[:, 2]), dim=-1).flatten(0, 1)
        losses += [
            hinge_loss(scores[:, :2], first, margin),
            hinge_loss(scores[:, 1:], first, margin),
            hinge_loss(across, torch.zeros(len(across), dtype=torch.long), margin) / 2,
        ]
    return torch.stack(losses).sum() / 2


def _attribute_loss(
    triplets: Tensor, names: list[Name], embedded: dict[str, Tensor], margin: float
) -> Tensor:
    """Hinge on the attribute that a distortion takes away: original over severe."""
    losses = []
    for triplet, name in zip(triplets, names, strict=True):
        if name in ATTRIBUTE_LOST:
            for scores in _prompt_scores(triplet, DEFAULT_PROMPTS[ATTRIBUTE_LOST[name]], embedded):
                losses.append(hinge_loss(scores[None, ::2], torch.zeros(1, dtype=torch.long), margin))
    return torch.stack(losses).sum() / (2 * len(triplets)) if losses else triplets.sum() * 0
