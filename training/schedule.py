"""Optimizer and learning-rate schedule: AdamW, linear warm-up, cosine to zero."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup


@dataclass(frozen=True)
class Schedule:
    """The settings of one run of the optimizer."""

    learning_rate: float
    weight_decay: float
    warmup_steps: int
    steps: int


def optimizer_with_schedule(module: nn.Module, schedule: Schedule) -> tuple[Optimizer, LambdaLR]:
    """Build AdamW over the trainable parameters; tensors of fewer than two dimensions do not decay."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    return optimizer, get_cosine_schedule_with_warmup(optimizer, schedule.warmup_steps, schedule.steps)
