"""How sure figures of positions are of which only sums were kept: win rates, wins of pairs, strengths.

A group has the alternatives of its first positions, two or more. Sums over groups have one size however many groups
there are, and add up over batches and processes in any order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .confidence import estimate_of_groups
from .intervals import estimate_mean_share
from .strengths import Strengths, estimate_clustered_strengths, estimate_strengths
from .wins import cluster_sign_test_p, compare_wins

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


def spread_of_groups(
    groups: Counts,
    first_places: Array,
    first_place_squares: Array,
    half_wins: Counts,
    tied: Counts,
    half_wins_by_size: Counts,
    half_win_products: Counts,
    confidence: float = 0.95,
) -> dict[str, Array]:
    """Return intervals, p-values and strengths of N positions, from groups that share nothing.

    Args:
        groups: How many groups have each position, `[N]`, at least 1.
        first_places: The sum of its shares of the first place, `[N]`.
        first_place_squares: The sum of the squares of those, `[N]`.
        half_wins: How often i beat j, a win counting 2 and a tie 1, `[N, N]`.
        tied: How often they tied, `[N, N]`.
        half_wins_by_size: The half wins of each position in the groups of exactly n + 1, `[N (size), N (position)]`.
        half_win_products: The sum over groups of the outer product of the positions' half wins, `[N, N]`.
        confidence: Of the intervals, in (0, 1).

    Returns:
        `win_rate_interval` `[N, 2]`, `win_matrix_interval` `[N, N, 2]`, `p_values` `[N, N]`, and with three positions
        or more `strengths` `[N]` and `strengths_interval` `[N, 2]`. NaN where two never met.

    Raises:
        ValueError: If the confidence is out of its range, or sums do not fit together.
    """
    size = len(groups)
    rates = np.empty((size, 2))
    pairs, p_values = np.full((size, size, 2), np.nan), np.full((size, size), np.nan)
    met = half_wins + half_wins.T
    for i in range(size):
        rate = estimate_mean_share(
            float(first_places[i]), float(first_place_squares[i]), int(groups[i]), confidence
        )
        rates[i] = rate.low, rate.high
        for j in np.flatnonzero(met[i]):
            won, lost = (int(half_wins[pair] - tied[i, j]) // 2 for pair in ((i, j), (j, i)))
            found = compare_wins(won, lost, int(tied[i, j]), confidence)
            pairs[i, j], p_values[i, j] = (found.share.low, found.share.high), found.p
    strengths = None
    if size > 2:
        # Of a group of n + 1 positions: so many have n + 1, less those that have one more.
        by_size = groups - np.append(groups[1:], 0)
        strengths = estimate_strengths(
            half_wins / 2,
            by_size.astype(np.float64),
            half_wins_by_size / 2,
            half_win_products / 4,
            confidence,
        )
    return _results(rates, pairs, p_values, strengths)


def spread_of_clusters(
    groups: Counts, first_places: Array, half_wins: Counts, confidence: float = 0.95
) -> dict[str, Array]:
    """Return the same as `spread_of_groups`, from groups of which some hang together.

    Args:
        groups: How many groups of each cluster have each position, `[clusters, N]`. Each cluster has a group.
        first_places: The sum of its shares of the first place in them, `[clusters, N]`.
        half_wins: How often i beat j in them, a win counting 2 and a tie 1, `[clusters, N, N]`.
        confidence: Of the intervals, in (0, 1).

    Raises:
        ValueError: If the confidence is out of its range, or sums do not fit together.
    """
    size = groups.shape[1]
    rates = np.empty((size, 2))
    pairs, p_values = np.full((size, size, 2), np.nan), np.full((size, size), np.nan)
    for i in range(size):
        there = groups[:, i] > 0
        rate = estimate_of_groups(first_places[there, i], groups[there, i], confidence)
        rates[i] = rate.low, rate.high
        for j in range(i):
            # Position i is the later one: groups that have it have both.
            won, met = half_wins[there, i, j], groups[there, i]
            share = estimate_of_groups(won / 2, met, confidence)
            pairs[i, j], pairs[j, i] = (share.low, share.high), (1 - share.high, 1 - share.low)
            p_values[i, j] = p_values[j, i] = cluster_sign_test_p(won - met)
    strengths = None
    if size > 2:
        strengths = estimate_clustered_strengths(half_wins / 2, groups[:, 0].astype(np.float64), confidence)
    return _results(rates, pairs, p_values, strengths)


def _results(rates: Array, pairs: Array, p_values: Array, strengths: Strengths | None) -> dict[str, Array]:
    found = {"win_rate_interval": rates, "win_matrix_interval": pairs, "p_values": p_values}
    if strengths is not None:
        found["strengths"] = strengths.values
        found["strengths_interval"] = np.stack([strengths.low, strengths.high], axis=-1)
    return found
