"""UniSim inside diffusers: scores while a pipeline samples, and guidance towards them.

from . import UniSimGuidanceCallback, UniSimScoreCallback
"""

from __future__ import annotations

from importlib.util import find_spec

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

__all__ = [
    "Augmentation",
    "BestOfN",
    "EarlyExit",
    "OptimizedLatents",
    "UniSimGuidanceCallback",
    "UniSimReward",
    "UniSimScoreCallback",
    "best_of_n",
    "optimize_latents",
]
