"""BAPPS: which of two distorted patches is nearer to the original one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..samples import Candidate
from .annotations import AnnotationError
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive

KINDS = ("cnn", "color", "deblur", "frameinterp", "superres", "traditional")
SHARE = 0.15


class Bapps(PooledDataset):
    """The first 15 % of each kind of distortion, as in the paper; a judgment of one half counts for the first."""

    id = "bapps"
    task = "image-image"
    size = 5000
    files = splits(test=tuple(f"bapps/val/{kind}/judge" for kind in KINDS))
    images = splits(test=tuple(f"bapps/val/{kind}/{part}" for kind in KINDS for part in ("ref", "p0", "p1")))
    hub = splits(test=authors_archive("bapps.tar", {"bapps/2afc/": "bapps/"}))
    licence = "BSD-2-Clause"
    citation = "Zhang et al. (2018), The Unreasonable Effectiveness of Deep Features, arXiv 1801.03924"
    url = "https://github.com/richzhang/PerceptualSimilarity"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return the triplets, as judged by the majority."""
        candidates: list[Candidate] = []
        for kind in KINDS:
            folder = self.root / "bapps" / "val" / kind
            judged = sorted(self.path(f"bapps/val/{kind}/judge").glob("*.npy"))
            for path in judged[: int(len(judged) * SHARE) + 1]:
                images = [folder / part / f"{path.stem}.png" for part in ("p0", "p1")]
                if round(_read_judgment(path)):
                    images.reverse()
                candidates.append((folder / "ref" / f"{path.stem}.png", tuple(images)))
        return candidates


def _read_judgment(path: Path) -> float:
    """Read the share of people who found the second patch nearer."""
    try:
        value = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise AnnotationError(f"{path}: expected an array of one number, but got {error}.") from error
    if not isinstance(value, np.ndarray) or value.size != 1 or not 0 <= value.item() <= 1:
        raise AnnotationError(f"{path}: expected an array of one number from 0 to 1, but got {value!r:.80}.")
    return float(value.item())
