"""Judges that say how good a picture is by one of five words: mPLUG-Owl2 tuned as OneAlign or as DeQA-Score.

OneAlign (Wu et al. 2024, Q-Align) learnt the word for people's mean rating, DeQA-Score (You et al. 2025) how their
ratings spread over the words.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.mplug_owl2 import MPLUGOwl2
from unisim_metrics.models.judges.mplug_owl2_files import Words, read_network
from unisim_metrics.models.judges.word_ratings import IMAGE, WordRating

OPTIONS = ("batch_size",)
"""The arguments of `load_model` that it takes beside those of all judges."""

SCALES = {
    "deqa-score": (5.0, 4.0, 3.0, 2.0, 1.0),
    "one-align": (1.0, 0.75, 0.5, 0.25, 0.0),
}
"""What the words count, best first, by the judge's name."""

_PROMPT = (
    f"USER: How would you rate the quality of this image?\n{IMAGE}\nASSISTANT: The quality of the image is"
)
_WORDS = ("excellent", "good", "fair", "poor", "bad")


class QualityWords(WordRating):
    """Ratings of pictures: what five words count, expected under their probabilities.

    Args:
        backbone: The network.
        words: The tokens of texts.
        source: What both were read from.
        scale: What the words count, best first.
    """

    def __init__(
        self, backbone: MPLUGOwl2, words: Words, source: JudgeSource, scale: Sequence[float]
    ) -> None:
        super().__init__(backbone, words, source, _PROMPT, _WORDS)
        self.scale = scale

    def rate(self, pixels: Tensor) -> Tensor:
        """Ratings `[N]`, from the least that a word counts to the most: 1 to 5 or 0 to 1."""
        return self._expect([self.network.encode_images(pixels)], self.scale)


def load(source: JudgeSource) -> QualityWords:
    """Read the authors' folder.

    Args:
        source: A folder like the repositories ``zhiyuanyou/DeQA-Score-Mix3`` and ``q-future/one-align`` of the Hub.

    Raises:
        CheckpointError: If a file is missing, or the weights are not exactly the model's.
        ModuleNotFoundError: If sentencepiece is not installed.
    """
    network = read_network(source)
    words = Words(source.path, network.sizes.language.vocab_size)
    return QualityWords(network, words, source, SCALES[source.name])
