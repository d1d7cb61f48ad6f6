"""Revisited Oxford and Paris: photos of the same building, found among thousands."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.statistics.stream import Stream

from ..samples import Candidate, relative_name
from .annotations import AnnotationError
from .base import Dataset, Split, splits
from .hub_files import authors_archive
from .pickles import read_pickle


@dataclass(frozen=True)
class Retrieval:
    """Queries, the gallery to search, and what is to be found in it.

    Attributes:
        queries: The query images.
        gallery: The images to rank for each query.
        easy: Which images of the gallery show which query well, bool `[queries, gallery]`.
        hard: Which show it badly.
        junk: Which count neither for nor against.
    """

    queries: tuple[Path, ...]
    gallery: tuple[Path, ...]
    easy: NDArray[np.bool_]
    hard: NDArray[np.bool_]
    junk: NDArray[np.bool_]


def hash_retrieval(retrieval: Retrieval, root: str | Path) -> str:
    """Return the SHA-256 of queries, gallery and ground truth, in hexadecimal, as `hash_samples` does of samples.

    Args:
        retrieval: What is asked.
        root: The data root that the image paths start with.

    Raises:
        ValueError: If an image does not lie under the root.
    """
    digest = hashlib.sha256()

    def add(record: object) -> None:
        digest.update(json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n")

    add({"gallery": [relative_name(image, root) for image in retrieval.gallery]})
    for index, query in enumerate(retrieval.queries):
        found = (
            np.flatnonzero(part[index]).tolist() for part in (retrieval.easy, retrieval.hard, retrieval.junk)
        )
        add([{"image": relative_name(query, root)}, *found])
    return digest.hexdigest()


class RetrievalDataset(Dataset):
    """A set that has queries and a gallery instead of samples."""

    task = "retrieval"

    @abstractmethod
    def retrieval(self) -> Retrieval:
        """Return the queries, the gallery and the ground truth."""

    def shown_images(self, split: Split = "test") -> Sequence[Path]:
        """Return the queries and the gallery."""
        found = self.retrieval()
        return list(dict.fromkeys((*found.queries, *found.gallery)))

    def draw(self, split: Split, n: int | None, stream: Stream) -> Sequence[Candidate]:
        """Raise a `TypeError`: there are no samples to draw."""
        raise TypeError(
            f"Dataset {self.id!r} has queries and a gallery instead of samples: call `retrieval()`."
        )


class _Revisited(RetrievalDataset):
    folder: str
    size = 70
    hub = splits(test=authors_archive("retrieval.tar"))
    citation = "Radenović et al. (2018), Revisiting Oxford and Paris, arXiv 1803.11285"
    url = "https://github.com/filipradenovic/revisitop"

    def retrieval(self) -> Retrieval:
        """Return the official queries, which are not cropped, and the ground truth."""
        path = self.path(self.files["test"][0])
        content = read_pickle(path)
        try:
            images = path.parent / "jpg"
            gallery = tuple(images / f"{_name(name)}.jpg" for name in content["imlist"])
            queries = tuple(images / f"{_name(name)}.jpg" for name in content["qimlist"])
            truths = content["gnd"]
            if not len(queries) == len(truths) > 0:
                raise ValueError(f"{len(queries)} queries with {len(truths)} answers")
            easy, hard, junk = (
                np.stack([_mask(truth[part], len(gallery)) for truth in truths])
                for part in ("easy", "hard", "junk")
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise AnnotationError(
                f"{path}: expected 'imlist', 'qimlist' and 'gnd' with indices that are 'easy', 'hard' and 'junk', but"
                f" got {error!r}."
            ) from error
        return Retrieval(queries, gallery, easy, hard, junk)


class ROxford(_Revisited):
    """Revisited Oxford buildings."""

    id = "roxford"
    files = splits(test=("retrieval/revisitop/roxford5k/gnd_roxford5k.pkl",))
    images = splits(test=("retrieval/revisitop/roxford5k/jpg",))


class RParis(_Revisited):
    """Revisited Paris landmarks."""

    id = "rparis"
    files = splits(test=("retrieval/revisitop/rparis6k/gnd_rparis6k.pkl",))
    images = splits(test=("retrieval/revisitop/rparis6k/jpg",))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or "/" in value:
        raise ValueError(f"the image name {value!r}")
    return value


def _mask(indices: Any, count: int) -> NDArray[np.bool_]:
    named = np.asarray(indices).reshape(-1)
    if named.size and (named.dtype.kind not in "iu" or named.min() < 0 or named.max() >= count):
        raise ValueError(f"indices outside the {count} images of the gallery")
    mask = np.zeros(count, dtype=np.bool_)
    mask[named.astype(np.int64)] = True
    return mask
