"""The arguments of ``load_model``, and the refusal of those that would be ignored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from unisim_metrics.images import Preprocessing, Resample
from unisim_metrics.models.generative.model import Mode

GENERATIVE_OPTIONS = ("processor", "device_map", "batch_size", "mode", "debias")
"""What only generative models take."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the caller of ``load_model`` chose, passed along as one; its arguments by their names."""

    revision: str | None = None
    base: Any = None
    device: torch.device | str | None = None
    dtype: torch.dtype | None = None
    resample: Resample = "bicubic"
    truncate: bool = True
    preprocessing: Preprocessing | None = None
    tokenizer: Any = None
    processor: Any = None
    device_map: Any = None
    batch_size: int | None = None
    mode: Mode | None = None
    debias: bool | None = None
    cache_dir: str | Path | None = None
    token: str | bool | None = None

    def hub(self) -> dict[str, Any]:
        """What downloads take."""
        return {"cache_dir": self.cache_dir, "token": self.token}

    def judging(self) -> dict[str, Any]:
        """How a generative model is asked, as far as it was chosen."""
        chosen = {"batch_size": self.batch_size, "mode": self.mode, "debias": self.debias}
        return {name: value for name, value in chosen.items() if value is not None}


def refuse(options: Options, what: str, *arguments: str) -> None:
    """Raise a `ValueError` if one of the arguments, which would be ignored for `what`, was given."""
    for argument in arguments:
        if getattr(options, argument) is not None:
            raise ValueError(f"Argument `{argument}` does not apply to {what}: leave it out.")
