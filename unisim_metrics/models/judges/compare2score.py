"""Compare2Score (Zhu et al. 2024): mPLUG-Owl2 tuned to compare a picture with others, here with five of known quality.

What the five are to each other is known, and their comparisons with the picture join it: the score is the picture's
place between the worst and the best, by Thurstone's model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.errors import CheckpointError
from unisim_metrics.images.decoding import load_image
from unisim_metrics.installation import install_extra
from unisim_metrics.models.answering import MAIN_VIEW
from unisim_metrics.models.evaluation import evaluation_mode, own_precision
from unisim_metrics.models.hashing import weights_state
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.mplug_owl2 import MPLUGOwl2
from unisim_metrics.models.judges.mplug_owl2_files import Words, read_network
from unisim_metrics.models.judges.thurstone import most_likely_scores
from unisim_metrics.models.judges.word_ratings import IMAGE, WordRating

OPTIONS = ("batch_size",)
"""The arguments of `load_model` that it takes beside those of all judges."""

_PROMPT = (
    f"USER: {IMAGE} {IMAGE} Compared with the first image, what is your quality rating for second image? "
    "\nASSISTANT: The quality of the second image is"
)
_WORDS = {"inferior": 0.0, "worse": 0.25, "similar": 0.5, "better": 0.75, "superior": 1.0}
_TEMPERATURE = 100  # their code divides the logits by it

# How often the first of two anchors is preferred to the second.
_AMONG_ANCHORS = (
    (0.5, 2.5912809e-01, 3.3130276e-04, 1.6087297e-06, 1.1803027e-09),
    (7.4087191e-01, 0.5, 2.4985345e-01, 9.9954158e-02, 1.8675303e-08),
    (9.9966872e-01, 7.5014657e-01, 0.5, 4.9968880e-01, 2.4852838e-01),
    (9.9999839e-01, 9.0004587e-01, 5.0031120e-01, 0.5, 2.5400183e-01),
    (1.0, 1.0, 7.5147164e-01, 7.4599814e-01, 0.5),
)
ANCHORS = len(_AMONG_ANCHORS)
_ANCHOR_IMAGES = "VQA-CityU/Anchor_images"
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_TABLES = (".parquet",)


class Compare2Score(WordRating):
    """Scores from 0 to 100, as much as the worst and the best of six pictures, five of which are always the same.

    Args:
        backbone: The network.
        words: The tokens of texts.
        source: What both were read from.
        anchors: The five.
    """

    def __init__(
        self, backbone: MPLUGOwl2, words: Words, source: JudgeSource, anchors: list[Image.Image]
    ) -> None:
        super().__init__(backbone, words, source, _PROMPT, tuple(_WORDS))
        self.anchors = anchors
        self._encoded: tuple[object, Tensor] | None = None

    @property
    def input_tag(self) -> str:
        """How images are prepared and what they are compared with, for the signature."""
        digest = hashlib.sha256()
        for anchor in self.anchors:
            digest.update(f"{anchor.size}\n".encode() + anchor.tobytes())
        return f"{super().input_tag}/anchors-{digest.hexdigest()[:8]}"

    def rate(self, pixels: Tensor) -> Tensor:
        """Scores `[N]` from 0 to 100."""
        anchors, images = self._encode_anchors().to(pixels), self.network.encode_images(pixels)
        # Each image with each anchor, which stands first.
        pairs = [anchors.repeat(len(images), 1, 1), images.repeat_interleave(ANCHORS, dim=0)]
        preferred = self._expect(pairs, tuple(_WORDS.values()), _TEMPERATURE).view(-1, ANCHORS)
        return score_among_anchors(preferred)

    def _encode_anchors(self) -> Tensor:
        """What the network reads of the anchors, made once for these weights."""
        state = weights_state(self.backbone), self.preprocessing
        if self._encoded is None or self._encoded[0] != state:
            # They take part in graphs later, whatever mode they are made in.
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                own_precision(),
                evaluation_mode(self.backbone),
            ):
                dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
                pixels = self.prepare(self.anchors, MAIN_VIEW, dtype).to(self.dtype)
                self._encoded = (state, self.network.encode_images(pixels))
        return self._encoded[1]

    def _batch_size(self, batch_size: int | None) -> int:
        size = super()._batch_size(batch_size)
        return size if batch_size or self.batch_size else max(1, size // ANCHORS)


def score_among_anchors(preferred: Tensor) -> Tensor:
    """The scores of pictures by how often each is preferred to the anchors.

    Args:
        preferred: `[N, 5]`, in [0, 1].

    Returns:
        `[N]`, in float64: 0 for a picture that is the worst of the six, 100 for one that is the best.
    """
    row = preferred.double()
    among = torch.tensor(_AMONG_ANCHORS, dtype=torch.float64, device=row.device).expand(len(row), -1, -1)
    upper = torch.cat([among, (1 - row)[:, :, None]], dim=2)
    lower = torch.cat([row, torch.full_like(row[:, :1], 0.5)], dim=1)
    scores = most_likely_scores(torch.cat([upper, lower[:, None]], dim=1))
    worst, best = scores.amin(dim=1), scores.amax(dim=1)
    return 100 * (scores[:, -1] - worst) / (best - worst)


def load(source: JudgeSource) -> Compare2Score:
    """Read the authors' folder.

    Args:
        source: A folder like the repository ``q-future/Compare2Score`` of the Hub. The anchors are looked for in its
            ``anchors``, then fetched from the data set ``VQA-CityU/Anchor_images``.

    Raises:
        CheckpointError: If a file is missing, or the weights are not exactly the model's.
        ImageReadError: If an anchor cannot be read.
        ModelUnavailableError: If the anchors cannot be fetched.
        ModuleNotFoundError: If sentencepiece is not installed.
    """
    anchors = _find_anchors(source)
    network = read_network(source)
    return Compare2Score(network, Words(source.path, network.sizes.language.vocab_size), source, anchors)


def _find_anchors(source: JudgeSource) -> list[Image.Image]:
    folder = source.path / "anchors"
    if not folder.is_dir():
        patterns = [f"*{suffix}" for suffix in (*_PICTURES, *_TABLES)]
        folder = source.fetch_dataset(_ANCHOR_IMAGES, patterns, folder)
    # As images of Pillow, by which the authors resize them.
    anchors = [
        Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()) for pixels in _read_pictures(folder)
    ]
    if len(anchors) != ANCHORS:
        raise CheckpointError(
            f"The folder {folder} must hold the {ANCHORS} pictures of `{_ANCHOR_IMAGES}`, but holds {len(anchors)}."
        )
    return anchors


def _read_pictures(folder: Path) -> Iterator[Tensor]:
    """The pictures in a folder, in files or in tables, in the order of the paths."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _PICTURES:
            yield load_image(path)
        elif path.suffix.lower() in _TABLES:
            yield from _read_table(path)


def _read_table(path: Path) -> Iterator[Tensor]:
    """The pictures in a table of a data set, in its column `image`."""
    try:
        parquet = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The pictures in {path} need pyarrow: {install_extra('benchmark')}, or put five files in its place."
        ) from error
    rows: list[Any] = parquet.read_table(path, columns=["image"]).column("image").to_pylist()
    with TemporaryDirectory() as folder:
        for index, row in enumerate(rows):
            file = Path(folder) / f"{path.stem}-{index}"
            file.write_bytes(row["bytes"])
            yield load_image(file)
