"""UniSim-Bench: tasks, datasets, runner, results and statistics.

The public names load on first use, so that this import stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import Comparison, compare
    from .correlation import Correlation, correlate
    from .datasets import AnnotationError, Dataset, PooledDataset, list_datasets, load_dataset, register
    from .efficiency import measure_efficiency
    from .lookup import find_models
    from .report import write_report
    from .runner import run
    from .samples import Item, Sample, hash_samples
    from .statistics import Estimate
    from .summary import Summary, nafc_curve, summarize

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

_HOMES = {
    "AnnotationError": "datasets",
    "Comparison": "comparison",
    "Correlation": "correlation",
    "Dataset": "datasets",
    "Estimate": "statistics",
    "Item": "samples",
    "PooledDataset": "datasets",
    "Sample": "samples",
    "Summary": "summary",
    "compare": "comparison",
    "correlate": "correlation",
    "find_models": "lookup",
    "hash_samples": "samples",
    "list_datasets": "datasets",
    "load_dataset": "datasets",
    "measure_efficiency": "efficiency",
    "nafc_curve": "summary",
    "register": "datasets",
    "run": "runner",
    "summarize": "summary",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
