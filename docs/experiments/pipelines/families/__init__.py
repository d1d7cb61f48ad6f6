"""One file a family of pipelines: the networks that it is made of, and what it is called with; all declarations.

`NETWORKS` has configurations by the name of a class, `CASES` what pipelines are made of and called with, by regular
expressions over their names, of which the first that fits counts. Pipelines that enlarge every picture to a million
pixels, or have parts of a fixed width, have no case.
"""

from __future__ import annotations

from typing import Any

from ..case import Case
from . import (
    autoencoders,
    bria,
    cogview,
    flux,
    hunyuan,
    kandinsky,
    lumina,
    others,
    qwen,
    sana,
    stable_diffusion,
)

_FAMILIES = (bria, cogview, flux, hunyuan, kandinsky, lumina, others, qwen, sana, stable_diffusion)

CASES: dict[str, Case] = {pattern: case for family in _FAMILIES for pattern, case in family.CASES.items()}

NETWORKS: dict[str, dict[str, Any]] = {
    name: config for family in (autoencoders, *_FAMILIES) for name, config in family.NETWORKS.items()
}
