"""Clusters of groups in states of one size: each cluster's sums go into the slot that its name says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SLOTS = 1024
"""How many slots there are. Clusters that share one count as one, which is safe: it makes intervals no narrower."""

ClustersLike: TypeAlias = Tensor | NDArray[Any] | Sequence[str | int]
"""What each group of a batch is of: integers `[B]`, or B names."""


def cluster_slots(clusters: ClustersLike, count: int) -> Tensor:
    """Return the slot of each group's cluster.

    It is a hash of the name: the same in every batch, process and run.

    Args:
        clusters: What each group is of, integers `[B]` or B strings or integers, such as prompts or their numbers.
        count: How many groups there are, B.

    Returns:
        Integers from 0 to `SLOTS` − 1, `[B]`.

    Raises:
        ValueError: If there is not one a group.
        TypeError: If they are neither strings nor integers.
    """
    if isinstance(clusters, str) or not isinstance(clusters, (Tensor, np.ndarray, Sequence)):
        raise TypeError(
            f"Argument `clusters` must hold a string or an integer for each group, but got {clusters!r}."
        )
    if isinstance(clusters, (Tensor, np.ndarray)):
        shape, names = tuple(clusters.shape), clusters.tolist()
    else:
        shape, names = (len(clusters),), list(clusters)
    if shape != (count,):
        raise ValueError(
            f"Argument `clusters` must have one entry a group, shape ({count},), but got {shape}."
        )
    return torch.tensor([_slot(name) for name in names], dtype=torch.long)


def _slot(name: Any) -> int:
    if isinstance(name, bool) or not isinstance(name, (str, Integral)):
        raise TypeError(
            f"Argument `clusters` must hold a string or an integer for each group, but got {name!r}."
        )
    text = json.dumps(name if isinstance(name, str) else int(name))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") % SLOTS
