"""Collections too large for one list: a scorer of columns, which any engine calls batch by batch.

May live here: what reads, scores and writes rows in streams. It knows the models, and no command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisim_metrics.lazy import lazily

if TYPE_CHECKING:
    from unisim_metrics.collections.collection import score_collection
    from unisim_metrics.collections.progress import Progress
    from unisim_metrics.collections.report import CollectionReport
    from unisim_metrics.collections.scorer import UniSimScorer
    from unisim_metrics.collections.summary import Summary, filter_collection, summarize_collection

__all__ = [
    "CollectionReport",
    "Progress",
    "Summary",
    "UniSimScorer",
    "filter_collection",
    "score_collection",
    "summarize_collection",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "collection": ("score_collection",),
        "progress": ("Progress",),
        "report": ("CollectionReport",),
        "scorer": ("UniSimScorer",),
        "summary": ("Summary", "filter_collection", "summarize_collection"),
    },
)
