"""A file of rewards: names, models and weights of tasks, as `unisim serve --rewards` reads it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from ..rewards import PointwiseReward

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = ("model", "tasks", "method", "prompts")


def read_rewards(path: Path, device: torch.device | str | None = None) -> dict[str, PointwiseReward]:
    """Read a TOML file with a table `[rewards.NAME]` for each reward.

    Args:
        path: The file. Each table holds `model`, what `load_model` takes, and may hold `tasks`, a task or a table of
            their weights, `method` and `prompts`, as `PointwiseReward` takes them.
        device: Where the models run; where they are loaded to if None.

    Raises:
        ValueError: If it is no TOML, or a table holds something else. The message names file and reward.
        OSError: If the file cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected TOML, but got: {error}.") from error
    tables = content.get("rewards")
    if set(content) != {"rewards"} or not isinstance(tables, dict) or not tables:
        raise ValueError(f"{path}: expected tables [rewards.NAME] and nothing else, but got {list(content)}.")
    return {name: _reward(f"{path}: [rewards.{name}]", table, device) for name, table in tables.items()}


def _reward(place: str, table: Any, device: torch.device | str | None) -> PointwiseReward:
    if not isinstance(table, dict) or "model" not in table:
        raise ValueError(f"{place}: expected a table with `model`, but got {table!r:.100}.")
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise ValueError(f"{place}: expected no keys but {', '.join(_KEYS)}, but got {unknown[0]!r}.")
    options = {key: value for key, value in table.items() if key != "model"}
    try:
        reward = PointwiseReward(table["model"], **options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: {error}") from error
    if device is not None:
        reward.model.to(device)
    return reward
