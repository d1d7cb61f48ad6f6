"""Reading the pickles that some sets are published as, without letting them run code."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from .annotations import AnnotationError

__all__ = ["read_pickle"]

_HARMLESS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
    # NumPy 2 has moved what older files name.
    **{
        (f"numpy.{core}.multiarray", name): getattr(np._core.multiarray, name)  # type: ignore[attr-defined]
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
}


class _PlainDataOnly(pickle.Unpickler):
    """Unpickles Python's own containers, numbers and texts, and NumPy's arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of plain data")
        return _HARMLESS[module, name]


def read_pickle(path: Path, *, encoding: str = "ASCII") -> Any:
    """Read a pickle of plain data.

    Args:
        path: The file.
        encoding: How texts that Python 2 wrote are decoded, as in `pickle.load`.

    Raises:
        AnnotationError: If it is not a pickle, or holds anything but plain data.
    """
    try:
        with open(path, "rb") as file:
            return _PlainDataOnly(file, encoding=encoding).load()
    except OSError:
        raise
    # A broken pickle can raise anything.
    except Exception as error:
        raise AnnotationError(f"{path}: expected a pickle of plain data, but got {error!r:.200}.") from error
