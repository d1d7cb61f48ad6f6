"""Scores from comparisons, by Thurstone's model (case V): the most likely ones, each with a normal prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS = 100
_HALVINGS = 40
_TOLERANCE = 1e-10


def most_likely_scores(preferences: Tensor) -> Tensor:
    """Find what maximises `sum_ij C_ij log Phi(s_i - s_j) - sum_i s_i^2 / 2`, by Newton's method.

    The sum is strictly concave: there is one maximum, and the result is converged.

    Args:
        preferences: `C`, `[N, K, K]`: how often item i is preferred to item j, in [0, 1].

    Returns:
        The scores, `[N, K]`, in float64. They carry the exact first derivative by the preferences.
    """
    wanted = preferences.double()
    with torch.no_grad():
        scores = wanted.new_zeros(wanted.shape[:2])
        for _ in range(_STEPS):
            gradient, curvature = _derivatives(wanted, scores)
            step = torch.linalg.solve(curvature, gradient)
            if bool((step.abs() < _TOLERANCE).all()):
                break
            scores = scores + step * _lengths(wanted, scores, step)[:, None]
    # At the maximum one more step is nought, and its derivative that of the maximum.
    gradient, curvature = _derivatives(wanted, scores)
    found: Tensor = scores + torch.linalg.solve(curvature.detach(), gradient)
    return found


def _likelihood(wanted: Tensor, scores: Tensor) -> Tensor:
    differences = scores[:, :, None] - scores[:, None]
    total: Tensor = (wanted * torch.special.log_ndtr(differences)).sum((1, 2)) - scores.square().sum(1) / 2
    return total


def _lengths(wanted: Tensor, scores: Tensor, step: Tensor) -> Tensor:
    """How much of each step `[N, K]` to go, halved until it does not lead down: `[N]`."""
    lengths = torch.ones_like(scores[:, 0])
    start = _likelihood(wanted, scores)
    for _ in range(_HALVINGS):
        # What rounding takes off at the maximum is no descent.
        worse = _likelihood(wanted, scores + step * lengths[:, None]) < start - 1e-12 * start.abs()
        if not worse.any():
            break
        lengths = torch.where(worse, lengths / 2, lengths)
    return lengths


def _derivatives(wanted: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient `[N, K]`, and less the matrix of second derivatives, `[N, K, K]`."""
    differences = scores[:, :, None] - scores[:, None]
    density = -differences.square() / 2 - math.log(2 * math.pi) / 2
    ratio = (density - torch.special.log_ndtr(differences)).exp()  # of density and distribution
    slope = wanted * ratio
    bend = wanted * ratio * (differences + ratio)
    gradient = slope.sum(2) - slope.sum(1) - scores
    mutual = bend + bend.transpose(1, 2)
    curvature = torch.diag_embed(mutual.sum(2) + 1) - mutual
    return gradient, curvature
