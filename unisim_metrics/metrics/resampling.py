"""Inputs that torchmetrics' `BootStrapper` has resampled: it draws the rows of tensors and leaves all else in order."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics.wrappers import BootStrapper


def check_resampled(inputs: Mapping[str, Any]) -> None:
    """Refuse inputs of which `BootStrapper` has drawn some anew and left others, so that pairs no longer match.

    Neither lengths nor values tell: a draw may be as long as the batch, and any list may belong to it. So this
    looks who calls.

    Args:
        inputs: The arguments of `update` by name.

    Raises:
        ValueError: If a `BootStrapper` calls, and an input is not a tensor.
    """
    odd = [name for name, value in inputs.items() if value is not None and not isinstance(value, Tensor)]
    if odd and _is_bootstrapped():
        raise ValueError(
            f"Argument `{odd[0]}` must be a tensor inside a `BootStrapper`, which resamples tensors and leaves lists,"
            f" prompts among them, in their order, but got {type(inputs[odd[0]]).__name__}. For intervals of such"
            ' scores resample the scores themselves: `UniSimScore(reduction="none")` and `scipy.stats.bootstrap`.'
        )


def _is_bootstrapped() -> bool:
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is BootStrapper.update.__code__:
            return True
        frame = frame.f_back
    return False
