"""ImageReward: the best against the worst generated image of a prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..samples import Candidate
from .annotations import Entry, read_parquet
from .base import PooledDataset, Split, splits
from .hub_files import HubFiles

METADATA = "imagereward/metadata-validation.parquet"
COLUMNS = ("image_path", "prompt_id", "prompt", "rank")


class ImageReward(PooledDataset):
    """The official validation split, of 412 prompts; of images of equal rank the first counts as best or worst.

    By the authors' protocol the first row of a prompt stands against its last, whatever the ranks between them.

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
    hub = splits(
        test=HubFiles(
            "THUDM/ImageRewardDB",
            ("metadata-validation.parquet", "images/validation/*.zip"),
            folder="imagereward",
            revision="e3b3658d3aee390f275b084540b49139202e4608",
        )
    )

    def pool(self, split: Split) -> Sequence[Candidate]:
        """Return one choice a prompt, where the ranks differ."""
        rows_of: dict[str, list[Entry]] = defaultdict(list)
        for row in read_parquet(self.path(METADATA), COLUMNS):
            rows_of[row.text("prompt_id")].append(row)
        candidates: list[Candidate] = []
        for rows in rows_of.values():
            ends = rows if self.protocol == "paper" else (rows[0], rows[-1])
            best, worst = (choose(ends, key=lambda row: row.number("rank")) for choose in (min, max))
            if best.number("rank") < worst.number("rank"):
                images = tuple(self.root / "imagereward" / row.file("image_path") for row in (best, worst))
                candidates.append((best.text("prompt"), images))
        return candidates
