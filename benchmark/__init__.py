"""UniSim-Bench: tasks, datasets, runner, results and statistics.

The public names load on first use, so that this import stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unisim_metrics.lazy import lazily

if TYPE_CHECKING:
    from unisim_metrics.statistics.correlation import Correlation, correlate
    from unisim_metrics.statistics.intervals import Estimate

    from .costs.efficiency import measure_efficiency
    from .datasets import AnnotationError, Dataset, PooledDataset, list_datasets, load_dataset, register
    from .report import write_report
    from .results.comparison import Comparison, compare, find_models
    from .results.summary import Summary, nafc_curve, summarize
    from .running.runner import run
    from .samples import Item, Sample, hash_samples

__all__ = [
    "AnnotationError",
    "Comparison",
    "Correlation",
    "Dataset",
    "Estimate",
    "Item",
    "PooledDataset",
    "Sample",
    "Summary",
    "compare",
    "correlate",
    "find_models",
    "hash_samples",
    "list_datasets",
    "load_dataset",
    "measure_efficiency",
    "nafc_curve",
    "register",
    "run",
    "summarize",
    "write_report",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "costs.efficiency": ("measure_efficiency",),
        "datasets": (
            "AnnotationError",
            "Dataset",
            "PooledDataset",
            "list_datasets",
            "load_dataset",
            "register",
        ),
        "report": ("write_report",),
        "report.figures": ("Correlation", "correlate"),
        "results.comparison": ("Comparison", "compare", "find_models"),
        "results.summary": ("Estimate", "Summary", "nafc_curve", "summarize"),
        "running.runner": ("run",),
        "samples": ("Item", "Sample", "hash_samples"),
    },
)
