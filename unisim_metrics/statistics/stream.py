"""Random numbers by name: the same on any machine and any version of NumPy.

Only the raw stream of NumPy's PCG64 is used, which NumPy promises never to change; its distributions
(`Generator.choice`, `shuffle`) may differ from one version to the next, and with them a published sample list.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray


class Stream:
    """Random numbers that depend on nothing but their name: a set, a split, a seed.

    Args:
        name: What the numbers are for. Equal names give equal numbers, on any machine and Python.
    """

    def __init__(self, *name: str | int) -> None:
        self.name = name

    def words(self, count: int, purpose: str) -> NDArray[np.uint64]:
        """Return `count` uniform 64-bit numbers; the first of them do not depend on `count`."""
        text = json.dumps([*self.name, purpose])
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
        return np.asarray(np.random.PCG64(seed).random_raw(count), dtype=np.uint64)

    def choose(self, count: int, total: int, purpose: str = "choose") -> list[int]:
        """Return `count` distinct numbers below `total`, ascending, each subset equally likely.

        The numbers chosen for a smaller `count` are among those for a larger one. These are the first steps of a
        Fisher–Yates shuffle of which only the moved entries are kept, so `total` may be far too large to list.
        """
        if not 0 <= count <= total:
            raise ValueError(f"Cannot choose {count} distinct numbers out of {total}.")
        moved: dict[int, int] = {}
        chosen = []
        for step, word in enumerate(self.words(count, purpose).tolist()):
            # The remainder's bias is below total / 2**64.
            pick = step + word % (total - step)
            chosen.append(moved.get(pick, pick))
            moved[pick] = moved.get(step, step)
        return sorted(chosen)

    def permutation(self, count: int, purpose: str) -> NDArray[np.int64]:
        """Return the numbers below `count` in random order."""
        return np.argsort(self.words(count, purpose), kind="stable")
