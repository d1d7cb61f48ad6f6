"""Stage 2: the image tower learns the teacher's grid, pooled features, classes and aligned embedding."""

from __future__ import annotations

import logging

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange
from transformers import CLIPModel

from unisim_metrics.training.mini.recipe import Distill, DistillPhase, Recipe
from unisim_metrics.training.mini.student import DistillationHeads, image_features, normalize_pixels
from unisim_metrics.training.mini.views import Batch, Views
from unisim_metrics.training.optimization import Optimization, RunningMeans, Schedule

log = logging.getLogger(__name__)
CLASS_TEMPERATURE = 2.0


def distill(model: CLIPModel, views: Views, aligned: Tensor, recipe: Recipe) -> None:
    """Train the image tower of `model` in place; `aligned` is the teacher's `[N, D]` of every view."""
    channels, classes = views.grids.shape[-1], views.logits.shape[-1]
    heads = DistillationHeads(recipe.vision["hidden_size"], channels, classes)
    for phase in recipe.distill.phases:
        _run_phase(model, heads, views, aligned, recipe, phase)


def _run_phase(
    model: CLIPModel,
    heads: DistillationHeads,
    views: Views,
    aligned: Tensor,
    recipe: Recipe,
    phase: DistillPhase,
) -> None:
    rng = np.random.default_rng((recipe.seed, phase.image_size))
    modules = nn.ModuleList([model.vision_model, model.visual_projection, heads])
    schedule = Schedule(phase.learning_rate, recipe.distill.weight_decay, phase.warmup_steps, phase.steps)
    optimization = Optimization(modules, schedule, max_norm=1.0)
    pooled = views.pooled / views.pooled.std(dim=0)
    bar = trange(phase.steps, desc=f"distill {phase.image_size}px", mininterval=20)
    means = RunningMeans(bar, log, every=50)
    for step in bar:
        batch = views.batch(rng.choice(len(views), size=phase.batch_size, replace=False), rng)
        pixels = F.interpolate(
            normalize_pixels(batch.pixels), (phase.image_size, phase.image_size), mode="area"
        )
        losses = _losses(model, heads, views, batch, pixels, pooled[batch.rows], aligned[batch.rows])
        loss = torch.stack([weight * losses[name] for name, weight in _weights(recipe.distill).items()]).sum()
        optimization.step(loss)
        means.add(step, losses)


def _weights(settings: Distill) -> dict[str, float]:
    return {
        "grid": settings.grid_weight,
        "pooled": settings.pooled_weight,
        "classes": settings.class_weight,
        "embedding": settings.embedding_weight,
    }


def _losses(
    model: CLIPModel,
    heads: DistillationHeads,
    views: Views,
    batch: Batch,
    pixels: Tensor,
    pooled: Tensor,
    aligned: Tensor,
) -> dict[str, Tensor]:
    embeddings, summary, patches = image_features(model, pixels)
    side = int(patches.shape[1] ** 0.5)
    mean, deviation = views.grid_statistics
    grid = F.adaptive_avg_pool2d(((batch.grid - mean) / deviation).permute(0, 3, 1, 2), side)
    teacher = F.log_softmax(batch.logits / CLASS_TEMPERATURE, dim=-1)
    student = F.log_softmax(heads.classes(summary) / CLASS_TEMPERATURE, dim=-1)
    return {
        "grid": F.mse_loss(heads.grid(patches), grid.flatten(2).transpose(1, 2)),
        "pooled": F.mse_loss(heads.pooled(summary), pooled),
        "classes": F.kl_div(student, teacher, log_target=True, reduction="batchmean") * CLASS_TEMPERATURE**2,
        "embedding": 1 - (embeddings * aligned).sum(dim=-1).mean(),
    }
