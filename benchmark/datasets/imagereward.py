"""ImageReward: the best against the worst generated image of a prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib import import_module

from ..samples import Candidate
from .annotations import AnnotationError, Entry
from .base import PooledDataset, Split, splits

METADATA = "imagereward/metadata-validation.parquet"
COLUMNS = ("image_path", "prompt_id", "prompt", "rank")


class ImageReward(PooledDataset):
    """The official validation split, of 412 prompts; of images of equal rank the first counts as best or worst.

    Read from the dataset's own `metadata-validation.parquet` (which needs `pyarrow`), with the archives under
    `images/validation` unpacked, so that each `image_path` is found under `imagereward`.
    """

    id = "imagereward"
    task = "image-text"
    size = 412
    files = splits(test=(METADATA,))
    images = splits(test=("imagereward/images/validation",))
    licence = "Apache-2.0"
    citation = "Xu et al. (2023), ImageReward, arXiv 2304.05977"
    url = "https://huggingface.co/datasets/THUDM/ImageRewardDB"
    hub_id = "THUDM/ImageRewardDB"

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return one choice a prompt, where the ranks differ."""
        rows_of: dict[str, list[Entry]] = defaultdict(list)
        for row in self._rows():
            rows_of[row.text("prompt_id")].append(row)
        candidates: list[Candidate] = []
        for rows in rows_of.values():
            best, worst = (choose(rows, key=lambda row: row.number("rank")) for choose in (min, max))
            if best.number("rank") < worst.number("rank"):
                images = tuple(self.root / "imagereward" / row.file("image_path") for row in (best, worst))
                candidates.append((best.text("prompt"), images))
        return candidates

    def _rows(self) -> Iterator[Entry]:
        path = self.path(METADATA)
        try:
            parquet = import_module("pyarrow.parquet")
        except ImportError as error:
            raise ImportError(f"Dataset {self.id!r} needs pyarrow: pip install pyarrow") from error
        try:
            table = parquet.read_table(path)
        except ValueError as error:
            raise AnnotationError(f"{path}: expected Parquet, but got {error}.") from error
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise AnnotationError(f"{path}: expected the columns {missing}, but got {table.column_names}.")
        for number, record in enumerate(table.select(COLUMNS).to_pylist(), start=1):
            yield Entry(path, f"record {number}", record)
