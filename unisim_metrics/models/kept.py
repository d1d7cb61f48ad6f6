"""Models as functions are given them: loaded ones, or what `load_model` takes, loaded once a process."""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unisim_metrics.images.threads import leave_threads_to_the_parent
from unisim_metrics.models.loading import load_model
from unisim_metrics.models.protocol import PerceptualModel

ModelLike = str | os.PathLike[str] | nn.Module | PerceptualModel

# Two threads that ask for one model at once get one.
_loading = threading.RLock()


def as_model(
    model_name_or_path: ModelLike, device: torch.device | str | None = None, **options: Any
) -> PerceptualModel:
    """Return a loaded model; names and paths are loaded once a process, for each device and each set of options.

    Args:
        model_name_or_path: What `load_model` takes.
        device: Where the model goes; as in `load_model` if None.
        options: What else `load_model` takes; of names and paths they must be hashable.
    """
    leave_threads_to_the_parent()
    if isinstance(model_name_or_path, os.PathLike):
        model_name_or_path = Path(model_name_or_path)
    if isinstance(model_name_or_path, str | Path):
        where = None if device is None else str(device)
        with _loading:
            return _load_once(model_name_or_path, where, tuple(sorted(options.items())))
    return load_model(model_name_or_path, device=device, **options)


@lru_cache(maxsize=4)
def _load_once(
    name_or_path: str | Path, device: str | None, options: tuple[tuple[str, Any], ...]
) -> PerceptualModel:
    return load_model(name_or_path, device=device, **dict(options))
