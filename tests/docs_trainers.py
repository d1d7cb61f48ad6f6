"""What a trainer of reinforcement learning offers to the rewards that are written for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch


class GroupwiseRewardModel:
    """Flow-Factory's base class of rewards that see a group at a time."""

    required_fields: tuple[str, ...] = ("image", "prompt")

    def __init__(self, config: Any, accelerator: Any) -> None:
        self.config, self.accelerator, self.device = config, accelerator, accelerator.device


@dataclass
class RewardModelOutput:
    """Flow-Factory's result of a reward."""

    rewards: torch.Tensor | Sequence[float]
    extra_info: dict[str, Any] | None = None


def stand_in(patch: pytest.MonkeyPatch) -> None:
    """Put the trainer where a page imports it from."""
    package, rewards = ModuleType("flow_factory"), ModuleType("flow_factory.rewards")
    vars(rewards).update(GroupwiseRewardModel=GroupwiseRewardModel, RewardModelOutput=RewardModelOutput)
    patch.setitem(sys.modules, "flow_factory", package)
    patch.setitem(sys.modules, "flow_factory.rewards", rewards)
