"""The sets of UniSim-Bench, one short class each, and how to add one's own."""

from .annotations import AnnotationError
from .base import Dataset, PooledDataset, Protocol, Split, Status
from .registry import list_datasets, load_dataset, register
from .revisitop import Retrieval, RetrievalDataset, hash_retrieval

__all__ = [
    "AnnotationError",
    "Dataset",
    "PooledDataset",
    "Protocol",
    "Retrieval",
    "RetrievalDataset",
    "Split",
    "Status",
    "hash_retrieval",
    "list_datasets",
    "load_dataset",
    "register",
]
