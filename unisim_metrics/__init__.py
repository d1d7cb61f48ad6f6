"""Perceptual similarity metrics for images and texts: UniSim as torchmetrics (arXiv 2412.10594).

The public names load on first use, so that `import unisim_metrics` (and `unisim --help`) stay quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisim_metrics.lazy import lazily
from unisim_metrics.version import __version__

if TYPE_CHECKING:
    from unisim_metrics import functional
    from unisim_metrics.collections import UniSimScorer, score_collection
    from unisim_metrics.losses import UniSimLoss
    from unisim_metrics.metrics import UniSimRanking, UniSimScore
    from unisim_metrics.models import PerceptualModel, list_models, load_model
    from unisim_metrics.prompts import Prompts

__all__ = [
    "PerceptualModel",
    "Prompts",
    "UniSimLoss",
    "UniSimRanking",
    "UniSimScore",
    "UniSimScorer",
    "__version__",
    "evaluate_path",
    "functional",
    "list_models",
    "load_model",
    "score_collection",
]


def evaluate_path() -> str:
    """Return the folder of the module for Hugging Face evaluate: `evaluate.load(evaluate_path(), "image-text")`."""
    from importlib.resources import files

    return str(files("unisim_metrics.integrations") / "evaluate_modules" / "unisim")


__getattr__, __dir__ = lazily(
    __name__,
    {
        "": ("functional",),
        "collections": ("UniSimScorer", "score_collection"),
        "losses": ("UniSimLoss",),
        "metrics": ("UniSimRanking", "UniSimScore"),
        "models": ("PerceptualModel", "list_models", "load_model"),
        "prompts": ("Prompts",),
    },
)
