"""Samples: one forced choice each, drawn and ordered the same way on any machine.

Only the raw stream of NumPy's PCG64 is used, which NumPy promises never to change; its distributions
(`Generator.choice`, `shuffle`) may differ from one version to the next, and with them a published sample list.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Item = Path | str
"""A `Path` is an image file, a `str` is a text."""

Candidate = tuple[Item | None, tuple[Item, ...]]
"""A choice before its alternatives are put in order: the reference, and the alternatives, the right one first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One forced choice.

    Attributes:
        reference: What the alternatives are compared with; None for quality, attributes and odd-one-out.
        alternatives: Two or more images or texts.
        label: The index of the right alternative.
    """

    reference: Item | None
    alternatives: tuple[Item, ...]
    label: int


class Stream:
    """Random numbers that depend on nothing but their name: the set, the split, the seed.

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


def arrange(candidates: Sequence[Candidate], stream: Stream) -> list[Sample]:
    """Put the alternatives in random order, each position right as often as any other.

    Where all samples have as many alternatives, the counts of any two positions differ by at most one. The order of
    the samples stays.

    Args:
        candidates: The choices, the right alternative first.
        stream: The source of the order.
    """
    places = stream.permutation(len(candidates), "labels").tolist()
    widest = max((len(alternatives) for _, alternatives in candidates), default=0)
    # One wrong alternative needs no order of its own.
    keys = (
        stream.words(len(candidates) * widest, "order").reshape(len(candidates), widest)
        if widest > 2
        else None
    )
    samples = []
    for index, (reference, (right, *wrong)) in enumerate(candidates):
        if keys is not None:
            order = np.argsort(keys[index, : len(wrong)], kind="stable")
            wrong = [wrong[position] for position in order]
        label = places[index] % (len(wrong) + 1)
        wrong.insert(label, right)
        samples.append(Sample(reference, tuple(wrong), label))
    return samples


def relative_name(image: Path, root: str | Path) -> str:
    """Return the path of an image relative to the data root, with forward slashes.

    Quicker than `Path.relative_to`: lists have some hundred thousand images.

    Raises:
        ValueError: If it does not lie under the root.
    """
    root = Path(root)
    name, prefix = os.fspath(image), "" if root == Path() else os.path.join(root, "")
    if not name.startswith(prefix) or image.is_absolute() != root.is_absolute():
        raise ValueError(f"Argument `samples` must hold images under the root {prefix!r}, but got {name!r}.")
    return name[len(prefix) :].replace(os.sep, "/")


def hash_samples(samples: Iterable[Sample], root: str | Path) -> str:
    """Return the SHA-256 of a sample list, in hexadecimal: equal lists, equal hashes, on any machine.

    Images are named by their path relative to the data root, with forward slashes; their content is not read.

    Args:
        samples: The samples, whose order counts.
        root: The data root that the image paths start with.

    Raises:
        ValueError: If an image does not lie under the root.
    """
    root = Path(root)
    digest = hashlib.sha256()

    def plain(item: Item | None) -> object:
        if not isinstance(item, Path):
            return item if item is None else {"text": item}
        return {"image": relative_name(item, root)}

    for sample in samples:
        record = [plain(sample.reference), [plain(item) for item in sample.alternatives], sample.label]
        digest.update(json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n")
    return digest.hexdigest()
