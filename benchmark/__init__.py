"""UniSim-Bench: tasks, datasets, runner, results and statistics.

The public names load on first use, so that this import stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets import AnnotationError, Dataset, PooledDataset, list_datasets, load_dataset, register
    from .samples import Item, Sample, hash_samples

__all__ = [
    "AnnotationError",
    "Dataset",
    "Item",
    "PooledDataset",
    "Sample",
    "hash_samples",
    "list_datasets",
    "load_dataset",
    "register",
]

_HOMES = {
    "AnnotationError": "datasets",
    "Dataset": "datasets",
    "PooledDataset": "datasets",
    "Item": "samples",
    "Sample": "samples",
    "hash_samples": "samples",
    "list_datasets": "datasets",
    "load_dataset": "datasets",
    "register": "datasets",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
