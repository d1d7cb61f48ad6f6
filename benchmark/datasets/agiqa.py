"""AGIQA-3K: generated images with people's scores of quality and of alignment with the prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from ..samples import Candidate
from .annotations import Entry, read_csv
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive
from .pairs import ScoredPairs

MIN_SCORE = 1.0


class _Agiqa3k(PooledDataset):
    size = 5000
    files = splits(test=("agiqa-3k/data.csv",))
    images = splits(test=("agiqa-3k/images",))
    hub = splits(test=authors_archive("agiqa-3k.tar"))
    licence = "MIT"
    citation = "Li et al. (2023), AGIQA-3K, arXiv 2306.04717"
    url = "https://github.com/lcysyzxdxc/AGIQA-3k-Database"

    def _pairs(
        self, score: str, *, with_prompt: bool, least: Mapping[str, float] = MappingProxyType({})
    ) -> Iterator[Candidate]:
        """Yield all pairs of images of one prompt whose scores differ, among those that have the least of a score."""
        folder = self.root / "agiqa-3k" / "images"
        rows_of: dict[str, list[Entry]] = defaultdict(list)
        for row in read_csv(self.path("agiqa-3k/data.csv"), ("name", "prompt", "mos_quality", "mos_align")):
            if all(row.number(column) >= bound for column, bound in least.items()):
                rows_of[row.text("prompt")].append(row)
        for prompt, rows in rows_of.items():
            images = [folder / row.file("name") for row in rows]
            yield from ScoredPairs(
                prompt if with_prompt else None, images, [row.number(score) for row in rows]
            )


class Agiqa3kAlignment(_Agiqa3k):
    """Which of two images fits the prompt better, among images of a quality score of at least 1.

    The paper drops images of low quality; the authors' code compares the alignment score with that bound instead, and
    so does their protocol here.
    """

    id = "agiqa-3k-alignment"
    task = "image-text"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of one prompt with different alignment scores."""
        judged = "mos_quality" if self.protocol == "paper" else "mos_align"
        return list(self._pairs("mos_align", with_prompt=True, least={judged: MIN_SCORE}))


class Agiqa3kQuality(_Agiqa3k):
    """Which of two images of one prompt is of higher quality."""

    id = "agiqa-3k-quality"
    task = "quality"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of one prompt with different quality scores."""
        return list(self._pairs("mos_quality", with_prompt=False))
