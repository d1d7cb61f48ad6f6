"""Models as functions are given them: loaded ones, or what `load_model` takes, loaded once a process."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from torch import nn

from unisim_metrics.models.loading import load_model
from unisim_metrics.models.protocol import PerceptualModel

ModelLike = str | os.PathLike[str] | nn.Module | PerceptualModel


def as_model(model_name_or_path: ModelLike) -> PerceptualModel:
    """Return a loaded model; names and paths are loaded once a process."""
    if isinstance(model_name_or_path, str):
        return _load_once(model_name_or_path)
    if isinstance(model_name_or_path, os.PathLike):
        return _load_once(Path(model_name_or_path))
    return load_model(model_name_or_path)


@lru_cache(maxsize=4)
def _load_once(name_or_path: str | Path) -> PerceptualModel:
    return load_model(name_or_path)
