"""UniSim inside diffusers: scores while a pipeline samples, and guidance towards them.

from . import UniSimGuidanceCallback, UniSimScoreCallback
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from unisim_metrics.installation import install_extra

if find_spec("diffusers") is None:
    raise ModuleNotFoundError(
        f"`unisim_metrics.integrations.diffusers` needs diffusers: {install_extra('diffusers')}."
    )

from .augmentation import Augmentation
from .guidance import UniSimGuidanceCallback
from .optimization import OptimizedLatents, optimize_latents
from .rewards import UniSimReward
from .scoring import EarlyExit, UniSimScoreCallback
from .selection import BestOfN, best_of_n

if TYPE_CHECKING:
    from .modular import UniSimGuidanceBlock, UniSimScoreBlock

__all__ = [
    "Augmentation",
    "BestOfN",
    "EarlyExit",
    "OptimizedLatents",
    "UniSimGuidanceBlock",
    "UniSimGuidanceCallback",
    "UniSimReward",
    "UniSimScoreBlock",
    "UniSimScoreCallback",
    "best_of_n",
    "optimize_latents",
]


def __getattr__(name: str) -> Any:
    """Import the blocks when they are asked for: diffusers has modular pipelines from 0.36 on."""
    if name not in ("UniSimGuidanceBlock", "UniSimScoreBlock"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec("diffusers.modular_pipelines") is None:
        raise ModuleNotFoundError(
            f"`{name}` needs a diffusers with modular pipelines: `pip install --upgrade diffusers`."
        )
    from . import modular

    return getattr(modular, name)
