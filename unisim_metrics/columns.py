"""Inputs as people hold them, columns of tables and datasets and arrays of strings, as plain lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor


def as_lists(value: Any) -> Any:
    """Turn a column into a list: a pandas `Series`, a NumPy array of strings or objects, a column of `datasets`.

    Lists are gone through in the same way; an array of numbers is an image and stays as it is.

    Args:
        value: What a caller passed for images, texts, groups of them or choices.
    """
    if isinstance(value, np.ndarray):
        return as_lists(value.tolist()) if value.dtype.kind in "OUT" else value
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value] if any(_is_column(item) for item in value) else value
    if _is_column(value):
        return as_lists(list(value))
    return value


def one_for_each(target: Any, count: int) -> Any:
    """Repeat one text, passed as a plain `str`, for each of `count` samples. A list is never repeated."""
    return [target] * count if isinstance(target, str) else target


def _is_column(value: Any) -> bool:
    """Whether it is a sequence in order, of one dimension, that is no list yet."""
    if isinstance(value, list | tuple | np.ndarray):
        return True
    if isinstance(value, str | bytes | Mapping | Tensor):
        return False
    if isinstance(value, Sequence):
        return True
    one_dimensional = getattr(value, "ndim", None) == 1
    return one_dimensional and hasattr(value, "__getitem__") and hasattr(value, "__len__")
