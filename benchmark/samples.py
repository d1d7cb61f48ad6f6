"""Samples: one forced choice each, drawn and ordered the same way on any machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unisim_metrics.statistics.stream import Stream

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
