"""Perceptual similarity metrics for images and texts: UniSim as torchmetrics (arXiv 2412.10594).

The public names load on first use, so that `import unisim_metrics` (and `unisim --help`) stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unisim_metrics.version import __version__

if TYPE_CHECKING:
    from unisim_metrics import functional
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
    "__version__",
    "evaluate_path",
    "functional",
    "list_models",
    "load_model",
]

_HOMES = {
    "PerceptualModel": "unisim_metrics.models",
    "Prompts": "unisim_metrics.prompts",
    "UniSimLoss": "unisim_metrics.losses",
    "UniSimRanking": "unisim_metrics.metrics",
    "UniSimScore": "unisim_metrics.metrics",
    "list_models": "unisim_metrics.models",
    "load_model": "unisim_metrics.models",
}


def evaluate_path() -> str:
    """Return the folder of the module for Hugging Face evaluate: `evaluate.load(evaluate_path(), "image-text")`."""
    from importlib.resources import files

    return str(files("unisim_metrics.integrations") / "evaluate_modules" / "unisim")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "functional":
        return import_module("unisim_metrics.functional")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
