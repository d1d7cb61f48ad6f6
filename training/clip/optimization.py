"""One run of the optimizer: AdamW, linear warm-up, cosine, and the means of the losses on the way."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup


@dataclass(frozen=True)
class Schedule:
    """The settings of one run of the optimizer.

    Attributes:
        learning_rate: At the end of the warm-up.
        weight_decay: Of tensors of two dimensions or more.
        warmup_steps: Steps of the warm-up.
        steps: All steps.
        floor: Where the cosine ends, with a warm-up whose first step moves already, as in the authors' code. None
            for transformers' schedule, from 0 to 0.
    """

    learning_rate: float
    weight_decay: float
    warmup_steps: int
    steps: int
    floor: float | None = None

    def factor(self, step: int) -> float:
        """The learning rate of a step, counted from 0, as a share of the highest, for a schedule with a floor."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        least = (self.floor or 0.0) / self.learning_rate
        return least + (1 - least) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def adamw(parameters: Iterable[nn.Parameter], schedule: Schedule) -> tuple[AdamW, LambdaLR]:
    """AdamW as CLIP is trained, with its warm-up and cosine; tensors of fewer than two dimensions do not decay."""
    trained = list(parameters)
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    if schedule.floor is not None:
        return optimizer, LambdaLR(optimizer, schedule.factor)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, schedule.warmup_steps, schedule.steps)


class Optimization:
    """A loss brought down over the trainable parameters of a module.

    Args:
        module: What is trained.
        schedule: The settings.
        max_norm: The gradient's norm is clipped to this, where given.
    """

    def __init__(self, module: nn.Module, schedule: Schedule, max_norm: float | None = None) -> None:
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.max_norm = max_norm
        self.optimizer, self.scheduler = adamw(self.parameters, schedule)

    def step(self, loss: Tensor) -> None:
        """Go one step down the gradient of `loss`."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimizer.step()
        self.scheduler.step()


class RunningMeans:
    """Exponential means of named losses, shown on a progress bar and logged every so many steps."""

    def __init__(self, bar: Any, log: logging.Logger, every: int, momentum: float = 0.95) -> None:
        self.bar = bar
        self.log = log
        self.every = every
        self.momentum = momentum
        self.values: dict[str, float] = {}

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of a step."""
        for name, loss in losses.items():
            value = loss.item()
            self.values[name] = self.momentum * self.values.get(name, value) + (1 - self.momentum) * value
        if step % self.every == 0:
            self.bar.set_postfix(self.values)
            shown = " ".join(f"{name} {value:.4f}" for name, value in self.values.items())
            self.log.info("%s step %d: %s", self.bar.desc, step, shown)
