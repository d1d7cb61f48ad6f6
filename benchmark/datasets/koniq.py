"""KonIQ-10k: photos as they are taken, with people's scores of quality and measured attributes."""

from __future__ import annotations

from collections.abc import Sequence

from ..samples import Candidate
from .annotations import AnnotationError, read_csv
from .base import PooledDataset, Split, splits
from .hub_files import authors_archive
from .pairs import ScoredPairs

SETS = "koniq10k/koniq10k_distributions_sets.csv"
INDICATORS = "koniq10k/koniq10k_indicators.csv"


class _Koniq(PooledDataset):
    size = 5000
    files = splits(test=(SETS,))
    images = splits(test=("koniq10k/1024x768",))
    hub = splits(test=authors_archive("koniq10k.tar"))
    citation = "Hosu et al. (2020), KonIQ-10k, arXiv 1910.06180"
    url = "https://database.mmsp-kn.de/koniq-10k-database.html"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return all pairs of different scores."""
        scores = self._scores()
        folder = self.root / "koniq10k" / "1024x768"
        return ScoredPairs(None, [folder / name for name in scores], list(scores.values()))

    def _scores(self) -> dict[str, float]:
        """Return what each test photo is judged by: people's mean opinion, unless a subclass says otherwise."""
        rows = read_csv(self.path(SETS), ("image_name", "set", "MOS"))
        return {row.file("image_name"): row.number("MOS") for row in rows if row.text("set") == "test"}


class Koniq10k(_Koniq):
    """Any two photos of the official test set; the one with the higher mean opinion score is better."""

    id = "koniq-10k"
    task = "quality"


class _KoniqAttribute(_Koniq):
    files = splits(test=(SETS, INDICATORS))

    def _scores(self) -> dict[str, float]:
        names = super()._scores()
        rows = read_csv(self.path(INDICATORS), ("image_id", self.task))
        # The attributes' file leaves out the extension.
        scores = {f"{row.file('image_id').removesuffix('.jpg')}.jpg": row for row in rows}
        if missing := next((name for name in names if name not in scores), None):
            path = self.root / INDICATORS
            raise AnnotationError(
                f"{path}: expected a line for the test photo {missing!r}, but there is none."
            )
        return {name: scores[name].number(self.task) for name in names}


class KoniqBrightness(_KoniqAttribute):
    """Which of two photos is brighter."""

    id = "koniq-brightness"
    task = "brightness"


class KoniqColorfulness(_KoniqAttribute):
    """Which of two photos is more colourful."""

    id = "koniq-colorfulness"
    task = "colorfulness"


class KoniqContrast(_KoniqAttribute):
    """Which of two photos has more contrast."""

    id = "koniq-contrast"
    task = "contrast"


class KoniqSharpness(_KoniqAttribute):
    """Which of two photos is sharper."""

    id = "koniq-sharpness"
    task = "sharpness"
