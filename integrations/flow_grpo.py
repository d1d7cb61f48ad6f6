"""UniSim as an entry of Flow-GRPO's rewards (Liu et al. 2025, https://github.com/yifan123/flow_grpo).

Its `multi_score` holds a dictionary of functions, each of a device, and calls what they return from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from unisim_metrics.models.kept import ModelLike
from unisim_metrics.tasks import Task

from .rewards import Metadata, PointwiseReward

ScoreFunction: TypeAlias = Callable[[Any, Sequence[str], Metadata | None], tuple[list[float], dict[str, Any]]]
"""What scores a batch: `(images, prompts, metadata) -> (scores, info)`."""


def pointwise_score(
    model_name_or_path: ModelLike = "unisim-mini",
    tasks: Task | Mapping[Task, float] = "image-text",
    **options: Any,
) -> Callable[[torch.device | str], ScoreFunction]:
    """Make an entry of the dictionary `score_functions` in the trainer's `multi_score`.

    The trainer spreads the images of a prompt over its processes and calls, so there is no groupwise entry.

    Args:
        model_name_or_path: What `load_model` takes; loaded when the entry gets its device.
        tasks: A task, or the weights of several.
        options: Further arguments of `PointwiseReward`.

    Returns:
        A function of a device. It returns one that takes N images (float `[N, C, H, W]` in [0, 1], or uint8), N prompts
        and their metadata, and returns N plain floats and the `info` of `PointwiseReward`, which the trainer drops.
    """

    # The trainer looks in `__code__.co_varnames` for this very name, so the entry is a plain function of it.
    def unisim_score(device: torch.device | str) -> ScoreFunction:
        reward = PointwiseReward(model_name_or_path, tasks, **options)
        reward.model.to(device)

        def score(
            images: Any, prompts: Sequence[str], metadata: Metadata | None = None
        ) -> tuple[list[float], dict[str, Any]]:
            rewards, info = reward(images, prompts, metadata)
            return rewards.tolist(), info

        return score

    return unisim_score
