"""Collections too large for one list: a scorer of columns, which any engine calls batch by batch.

May live here: what reads, scores and writes rows in streams. It knows the models, and no command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisim_metrics.lazy import lazily

if TYPE_CHECKING:
    from unisim_metrics.collections.scorer import UniSimScorer

__all__ = ["UniSimScorer"]

__getattr__, __dir__ = lazily(__name__, {"scorer": ("UniSimScorer",)})
