"""What a trainer of reinforcement learning offers to the rewards that are written for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch


class BaseRewardModel:
    """Flow-Factory's base class of rewards."""

    required_fields: tuple[str, ...] = ("image", "prompt")
    use_tensor_inputs = False

    def __init__(self, config: Any, accelerator: Any) -> None:
        self.config, self.accelerator, self.device = config, accelerator, accelerator.device


class PointwiseRewardModel(BaseRewardModel):
    """Of those that see a batch at a time."""


class GroupwiseRewardModel(BaseRewardModel):
    """Of those that see a group at a time."""


@dataclass
class RewardModelOutput:
    """Flow-Factory's result of a reward."""

    rewards: torch.Tensor | Sequence[float]
    extra_info: dict[str, Any] | None = None


def stand_in(patch: pytest.MonkeyPatch) -> None:
    """Put the trainer where the package imports it from."""
    package, rewards = ModuleType("flow_factory"), ModuleType("flow_factory.rewards")
    vars(rewards).update(
        PointwiseRewardModel=PointwiseRewardModel,
        GroupwiseRewardModel=GroupwiseRewardModel,
        RewardModelOutput=RewardModelOutput,
    )
    patch.setitem(sys.modules, "flow_factory", package)
    patch.setitem(sys.modules, "flow_factory.rewards", rewards)
