"""From scores of alternatives to choices, ranks, wins, the hinge objective and average precision.

Scores are `[B, N]`, higher = closer; NaN marks an alternative that a ragged group does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Protocol = Literal["easy", "medium", "hard"]


def choose(scores: Tensor) -> Tensor:
    """Index `[B]` of the best alternative; a tie counts for the first."""
    return scores.nan_to_num(nan=-torch.inf, neginf=-torch.inf).argmax(dim=-1)


def wins(scores: Tensor) -> Tensor:
    """Who beats whom within each group.

    Args:
        scores: `[B, N]`.

    Returns:
        Integers `[B, N, N]`: 2 where alternative i beats j, 1 where they tie, 0 where i loses, is j, or
        one of them is absent.
    """
    first, second = scores.unsqueeze(-1), scores.unsqueeze(-2)
    different = ~torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return (2 * (first > second).long() + (first == second).long()) * different


def meetings(scores: Tensor) -> Tensor:
    """Whether alternatives i and j (i ≠ j) are both present, integers `[B, N, N]` of 0 and 1."""
    present = ~scores.isnan()
    different = ~torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return (present.unsqueeze(-1) & present.unsqueeze(-2) & different).long()


def win_rates(scores: Tensor) -> Tensor:
    """Share of the others in its group that each alternative beats, `[B, N]`; ties count a half, absent are NaN."""
    return wins(scores).sum(dim=-1) / (2 * meetings(scores).sum(dim=-1))


def rank(scores: Tensor) -> Tensor:
    """Rank of every alternative in its group: 1 is the best, ties share their mean rank, absent ones are NaN."""
    losses = wins(scores).sum(dim=-2)
    return torch.where(scores.isnan(), torch.nan, 1 + losses / 2)


def hinge_loss(
    scores: Tensor, choices: Tensor, margin: float = 0.05, reduction: Literal["mean", "sum", "none"] = "mean"
) -> Tensor:
    """Hinge on the difference between the chosen and the other alternatives (paper, Section 3.3, Eq. 1).

    Args:
        scores: `[B, N]`, N ≥ 2.
        choices: Index of the chosen alternative, integers `[B]`.
        margin: How much better the chosen one has to be; the paper takes 0.05.
        reduction: `"mean"` or `"sum"` over all comparisons, or `"none"`.

    Returns:
        The loss; without reduction `[B, N − 1]`, one value for each alternative that was not chosen.

    Raises:
        ValueError: If `reduction` is unknown, or choices are not one index a group.
        TypeError: If choices are not integers.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(
            f"Argument `reduction` must be one of ('mean', 'sum', 'none'), but got {reduction!r}."
        )
    choices = check_choices(choices, (~scores.isnan()).sum(dim=-1))
    chosen = torch.nn.functional.one_hot(choices, scores.shape[-1]).bool()
    others = scores[~chosen].view(scores.shape[0], scores.shape[-1] - 1)
    losses = (margin - scores[chosen].unsqueeze(-1) + others).clamp_min(0)
    if reduction == "none":
        return losses
    return losses.nansum() if reduction == "sum" else losses.nanmean()


def check_choices(choices: Tensor | Sequence[int], sizes: Tensor, name: str = "choices") -> Tensor:
    """Check the index of the chosen alternative of each group.

    Args:
        choices: Integers `[B]`.
        sizes: How many alternatives each group has, integers `[B]`.
        name: How the caller names the choices, for error texts.

    Returns:
        The choices as int64, on the device of `sizes`.

    Raises:
        ValueError: If there is not one a group, or one is out of range.
        TypeError: If they are not integers.
    """
    try:
        indices = torch.as_tensor(choices, device=sizes.device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"Argument `{name}` must hold integers, but got {choices!r}.") from error
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise TypeError(f"Argument `{name}` must hold integers, but got {indices.dtype}.")
    if indices.shape != sizes.shape:
        raise ValueError(
            f"Argument `{name}` must have one entry a group, shape {tuple(sizes.shape)},"
            f" but got {tuple(indices.shape)}."
        )
    if bool(((indices < 0) | (indices >= sizes)).any()):
        raise ValueError(
            f"Argument `{name}` must be indices of alternatives (0 to N − 1), but got {indices.tolist()}"
            f" for groups of {sizes.tolist()}."
        )
    return indices.long()


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
