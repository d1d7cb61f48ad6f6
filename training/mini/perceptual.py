"""Stage 2: the tower's upper blocks and the bridge by the paper's hinge objective (Section 3.3).

Degrees of damage and human answers about materials by hinge, as quality, attribute and image triplets; captions and
the classes of ImageNet go on, so that words keep their meaning while the tower changes; what the first stage made of
photos and texts is the anchor.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange
from transformers import VisionTextDualEncoderModel

from unisim_metrics.functional import cosine_similarity, hinge_loss
from unisim_metrics.prompts import WORDINGS, Prompts

from ..clip.optimization import RunningMeans, Schedule, adamw
from ..distortions import ATTRIBUTE_LOST, Name
from .bridge import class_loss, contrastive_losses, name_loss, relation_loss
from .corpus import Corpus, prompt_texts
from .ladders import Ladder, MaterialTriplets
from .minilm import bridge, bridge_modules
from .recipe import Recipe
from .two_towers import image_embeddings, upper_features

log = logging.getLogger(__name__)


def train_perceptual(
    model: VisionTextDualEncoderModel,
    corpus: Corpus,
    activations: np.ndarray,
    ladders: Sequence[Ladder],
    materials: MaterialTriplets,
    recipe: Recipe,
) -> None:
    """Train the upper blocks of the image tower, the bridge and both projections of `model` in place.

    Args:
        model: What the first stage left.
        corpus: What the first stage drew from.
        activations: Of all views after the frozen blocks, float16 `[N, C, H, W]`.
        ladders: Degrees of damage.
        materials: Human answers.
        recipe: The settings.
    """
    settings, weights = recipe.perceptual, recipe.perceptual.weights
    blocks = recipe.views.frozen_blocks
    rng = np.random.default_rng((recipe.seed, 2))
    with torch.no_grad():
        anchors = image_embeddings(model, corpus.features)
        text_anchors = torch.cat([bridge(model, part) for part in corpus.bank.pooled.split(4096)])
    prompts = prompt_texts()
    prompt_rows = corpus.bank.rows(prompts)
    class_meanings = corpus.bank.meanings[corpus.usual_rows]
    scale = torch.tensor(1 / settings.temperature)
    modules = nn.ModuleList([model.visual_projection, *bridge_modules(model)])
    freeze_lower(model, blocks)
    tower = [parameter for parameter in model.vision_model.parameters() if parameter.requires_grad]
    runs = [
        adamw(parameters, Schedule(rate, settings.weight_decay, settings.warmup_steps, settings.steps))
        for parameters, rate in (
            (tower, settings.learning_rate),
            (modules.parameters(), settings.bridge_learning_rate),
        )
    ]
    means = RunningMeans(bar := trange(settings.steps, desc="perceptual", mininterval=20), log, every=25)
    for step in bar:
        captioned, captions = corpus.draw_captioned(settings.caption_batch, rng)
        others = rng.choice(corpus.photos, size=settings.class_batch, replace=False)
        judged = materials.draw(settings.material_batch, rng)
        drawn = [ladders[index] for index in rng.choice(len(ladders), settings.ladder_batch, replace=False)]
        damaged = np.array([ladder.rows for ladder in drawn])
        things = rng.choice(
            corpus.things, size=min(settings.caption_batch, len(corpus.things)), replace=False
        )
        people = rng.choice(corpus.people_rows, size=settings.people_batch)
        texts = rng.choice(len(corpus.bank.pooled), size=settings.text_batch, replace=False)

        # Photos beyond those that pass the tower are there as the first stage saw them: more to tell apart.
        seen = captioned[: settings.photo_batch]
        rows = np.concatenate([seen, others, judged.ravel(), damaged.ravel()])
        hidden = torch.from_numpy(np.asarray(activations[rows]))
        images = image_embeddings(model, upper_features(model, hidden, blocks))
        photographs, material, damage = images.split([len(seen) + len(others), judged.size, damaged.size])
        parts = [captions, corpus.draw_class_texts(rng), prompt_rows, people, texts]
        pooled = corpus.bank.pooled[np.concatenate(parts)]
        captioning, naming, prompting, kinds_of_people, kept = bridge(model, pooled).split(
            [len(part) for part in parts]
        )
        own_rows = np.concatenate([seen, others])
        sharp_rows = corpus.sharp_rows[own_rows]
        probabilities = corpus.class_probabilities(corpus.features[sharp_rows])
        pairs = torch.cat([photographs[: len(seen)], anchors[captioned[len(seen) :]]])
        # Not coarse copies: the stage must see that they are blurred, if not what they show.
        sharp = own_rows == sharp_rows
        undamaged = torch.cat([photographs[sharp], damage.unflatten(0, damaged.shape)[:, 0]])
        undamaged_rows = np.concatenate([own_rows[sharp], damaged[:, 0]])
        own = torch.eye(len(pairs), dtype=torch.bool)
        caption, image_text = contrastive_losses(pairs, captioning, own, settings.temperature)
        losses = {
            "caption": caption,
            "image_text": image_text,
            "classes": class_loss(photographs, naming, probabilities, scale),
            "people": name_loss(
                torch.cat([pairs, anchors[things]]),
                kinds_of_people,
                F.pad(corpus.show_people(captioned), (0, len(things)))[:, None].expand(-1, len(people)),
                scale,
            ),
            "class_relations": relation_loss(
                photographs, F.normalize(probabilities @ class_meanings, dim=-1)
            ),
            "image_anchor": 1 - (undamaged * anchors[undamaged_rows]).sum(dim=-1).mean(),
            "text_anchor": 1 - (kept * text_anchors[texts]).sum(dim=-1).mean(),
            **hinges(
                material.unflatten(0, judged.shape),
                damage.unflatten(0, damaged.shape),
                [ladder.distortion for ladder in drawn],
                dict(zip(prompts, prompting, strict=True)),
                settings.margin,
            ),
        }
        loss = torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()
        for optimizer, _ in runs:
            optimizer.zero_grad()
        loss.backward()
        for optimizer, scheduler in runs:
            optimizer.step()
            scheduler.step()
        means.add(step, losses)


def freeze_lower(model: VisionTextDualEncoderModel, blocks: int) -> None:
    """Keep all of the image tower but what follows its first `blocks` blocks as it is."""
    tower: Any = model.vision_model
    tower.requires_grad_(False)
    for module in [*tower.encoder.blocks[blocks:], tower.encoder.top_conv, tower.encoder.top_bn]:
        for name, parameter in module.named_parameters():
            # The gates stay open.
            parameter.requires_grad_("squeeze_excite" not in name)


def hinges(
    materials: Tensor, ladders: Tensor, names: Sequence[Name], prompts: Mapping[str, Tensor], margin: float
) -> dict[str, Tensor]:
    """The hinge losses.

    Args:
        materials: `[M, 3, D]` = (reference, closer, farther).
        ladders: `[N, L, D]`, the undamaged crop first, the worst last.
        names: The damage of each ladder.
        prompts: The embedding `[D]` of each text of quality and attributes.
        margin: By how much the better one must win.
    """
    return {
        "material": _ordered(cosine_similarity(materials[:, :1], materials[:, 1:]), margin),
        "similarity": _ordered(cosine_similarity(ladders[:, :1], ladders[:, 1:]), margin),
        "quality": _quality(ladders, prompts, margin),
        "attributes": _attributes(ladders, names, prompts, margin),
    }


def _ordered(scores: Tensor, margin: float) -> Tensor:
    """Hinge on all pairs of `[N, L]` scores, which must fall from left to right."""
    pairs = list(itertools.combinations(range(scores.shape[1]), 2))
    both = torch.stack([scores[:, pair] for pair in map(list, pairs)]).flatten(0, 1)
    return hinge_loss(both, torch.zeros(len(both), dtype=torch.long), margin)


def _prompt_scores(images: Tensor, asked: Prompts, prompts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scores of `images` by the naive prompt, and the difference over the antonym pair."""
    naive, good, bad = (
        cosine_similarity(images, prompts[text]) for text in (asked.naive, asked.positive, asked.negative)
    )
    return naive, good - bad


def _quality(ladders: Tensor, prompts: Mapping[str, Tensor], margin: float) -> Tensor:
    """Every ladder in its order, and every undamaged crop over the worst of every other, by either wording."""
    losses = []
    for wording in WORDINGS.values():
        for scores in _prompt_scores(ladders, wording["quality"], prompts):
            across = torch.stack(torch.broadcast_tensors(scores[:, :1], scores[:, -1]), dim=-1).flatten(0, 1)
            losses += [_ordered(scores, margin), _ordered(across, margin)]
    return torch.stack(losses).mean()


def _attributes(
    ladders: Tensor, names: Sequence[Name], prompts: Mapping[str, Tensor], margin: float
) -> Tensor:
    """The attribute that a damage takes away: every such ladder in its order, by either wording."""
    losses = []
    for ladder, name in zip(ladders, names, strict=True):
        if name in ATTRIBUTE_LOST:
            for wording in WORDINGS.values():
                for scores in _prompt_scores(ladder, wording[ATTRIBUTE_LOST[name]], prompts):
                    losses.append(_ordered(scores[None], margin))
    return torch.stack(losses).mean() if losses else ladders.sum() * 0
