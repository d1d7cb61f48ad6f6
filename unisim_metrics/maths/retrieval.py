"""Average precision of the revisited Oxford and Paris protocol (Radenović et al. 2018; paper, Section 3.1)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Protocol = Literal["easy", "medium", "hard"]


def revisited_average_precision(
    scores: Tensor, easy: Tensor, hard: Tensor, junk: Tensor, protocol: Protocol = "medium"
) -> Tensor:
    """Average precision of ranked galleries, with the ignored images taken out of the ranking.

    The precision at each positive is the mean of the values just before and just after it (trapezoids),
    as in the protocol's own evaluation.

    Args:
        scores: Similarity of every gallery image to each query, `[Q, G]`.
        easy: Which images are easy positives, bool `[Q, G]`.
        hard: Which are hard positives, bool `[Q, G]`.
        junk: Which are neither right nor wrong, bool `[Q, G]`.
        protocol: `"easy"` (hard and junk ignored), `"medium"` (easy and hard are positives, junk ignored) or
            `"hard"` (easy and junk ignored).

    Returns:
        Average precision `[Q]` in [0, 1]; NaN for a query without positives. Computed in float64, given as float32
        or, for such scores, as float64.

    Raises:
        ValueError: If `protocol` is unknown or shapes differ.
        TypeError: If a mask is not a bool tensor.
    """
    if protocol not in get_args(Protocol):
        raise ValueError(f"Argument `protocol` must be one of {get_args(Protocol)}, but got {protocol!r}.")
    for name, mask in (("easy", easy), ("hard", hard), ("junk", junk)):
        if mask.dtype != torch.bool:
            raise TypeError(f"Argument `{name}` must be a bool tensor, but got {mask.dtype}.")
        if mask.shape != scores.shape:
            raise ValueError(
                f"Argument `{name}` must have the shape of `scores`, {tuple(scores.shape)},"
                f" but got {tuple(mask.shape)}."
            )
    masks = {"easy": (easy, hard | junk), "medium": (easy | hard, junk), "hard": (hard, easy | junk)}
    positives, ignored = masks[protocol]
    order = scores.argsort(dim=-1, descending=True, stable=True)
    positives = positives.gather(-1, order)
    kept = ~ignored.gather(-1, order)
    position = kept.long().cumsum(dim=-1) - 1
    found = positives.double().cumsum(dim=-1)
    after = found / (position + 1)
    before = torch.where(position > 0, (found - 1) / position.clamp_min(1), 1.0)
    total = positives.sum(dim=-1)
    precision = torch.where(positives, (before + after) / 2, 0.0).sum(dim=-1)
    average = torch.where(total > 0, precision / total, torch.nan)
    return average.to(torch.promote_types(scores.dtype, torch.float32))
