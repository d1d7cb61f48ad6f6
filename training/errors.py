"""What stops a training run."""

from __future__ import annotations

from unisim_metrics.errors import UniSimError


class TrainingError(UniSimError, RuntimeError):
    """The run cannot go on. What it saved before stands."""
