"""A module brought down a loss, with averaged weights, and checkpoints that a killed run goes on from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import trange

from .recipe import Descent

log = logging.getLogger(__name__)
_LOG_EVERY = 100


def descend(
    module: nn.Module,
    loss: Callable[[torch.Generator], Tensor],
    settings: Descent,
    seed: int,
    checkpoint: Path,
) -> None:
    """Train a module; at the end it holds the averaged weights.

    Args:
        module: In training mode.
        loss: Of one batch, drawn with the generator, which is that of the step: a run that goes on from a
            checkpoint sees the batches it would have seen.
        settings: Of the optimizer.
        seed: Of the batches.
        checkpoint: Where the state is kept on the way; if it is there, the run goes on from it.
    """
    weights = list(module.parameters())
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    scheduler = get_scheduler(
        settings.schedule,
        optimizer,
        num_warmup_steps=settings.warmup,
        num_training_steps=settings.steps,
    )
    average = EMAModel(weights, decay=settings.ema, use_ema_warmup=True, power=0.75)
    parts: dict[str, Any] = {
        "module": module, "optimizer": optimizer, "scheduler": scheduler, "average": average
    }  # fmt: skip
    start = _resume(parts, checkpoint)
    mean = 0.0
    for step in trange(start, settings.steps, desc=checkpoint.stem, initial=start, total=settings.steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        value = loss(generator)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        scheduler.step()
        average.step(weights)
        mean += value.item()
        if (step + 1) % _LOG_EVERY == 0:
            log.info("%s step %d: loss %.4f", checkpoint.stem, step + 1, mean / _LOG_EVERY)
            mean = 0.0
        if (step + 1) % settings.save_every == 0:
            _save(parts, step + 1, checkpoint)
    average.copy_to(weights)


def _resume(parts: dict[str, Any], checkpoint: Path) -> int:
    if not checkpoint.is_file():
        return 0
    states = torch.load(checkpoint, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    log.info("%s goes on from step %d", checkpoint.stem, states["step"])
    return int(states["step"])


def _save(parts: dict[str, Any], step: int, checkpoint: Path) -> None:
    unfinished = checkpoint.with_suffix(".unfinished")
    torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, unfinished)
    unfinished.replace(checkpoint)
