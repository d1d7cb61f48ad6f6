"""UniSim-Bench: tasks, datasets, runner, results and statistics.

The public names load on first use, so that this import stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .costs.efficiency import measure_efficiency
    from .datasets import AnnotationError, Dataset, PooledDataset, list_datasets, load_dataset, register
    from .report import write_report
    from .results.comparison import Comparison, compare
    from .results.lookup import find_models
    from .results.summary import Summary, nafc_curve, summarize
    from .running.runner import run
    from .samples import Item, Sample, hash_samples
    from .statistics.correlation import Correlation, correlate
    from .statistics.intervals import Estimate

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
    "Comparison": "results.comparison",
    "Correlation": "statistics.correlation",
    "Dataset": "datasets",
    "Estimate": "statistics.intervals",
    "Item": "samples",
    "PooledDataset": "datasets",
    "Sample": "samples",
    "Summary": "results.summary",
    "compare": "results.comparison",
    "correlate": "statistics.correlation",
    "find_models": "results.lookup",
    "hash_samples": "samples",
    "list_datasets": "datasets",
    "load_dataset": "datasets",
    "measure_efficiency": "costs.efficiency",
    "nafc_curve": "results.summary",
    "register": "datasets",
    "run": "running.runner",
    "summarize": "results.summary",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
