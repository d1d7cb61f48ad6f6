"""OneAlign (Wu et al. 2024, Q-Align): mPLUG-Owl2 tuned to say how good a picture is by one of five words."""

from __future__ import annotations

from torch import Tensor

from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.mplug_owl2 import MPLUGOwl2
from unisim_metrics.models.judges.mplug_owl2_files import Words, read_network
from unisim_metrics.models.judges.word_ratings import IMAGE, WordRating

OPTIONS = ("batch_size",)
"""The arguments of `load_model` that it takes beside those of all judges."""

_PROMPT = (
    f"USER: How would you rate the quality of this image?\n{IMAGE}\nASSISTANT: The quality of the image is"
)
_WORDS = {"excellent": 1.0, "good": 0.75, "fair": 0.5, "poor": 0.25, "bad": 0.0}


class OneAlign(WordRating):
    """Ratings from 0 to 1: what five words count, expected under their probabilities.

    Args:
        backbone: The network.
        words: The tokens of texts.
        source: What both were read from.
    """

    def __init__(self, backbone: MPLUGOwl2, words: Words, source: JudgeSource) -> None:
        super().__init__(backbone, words, source, _PROMPT, tuple(_WORDS))

    def rate(self, pixels: Tensor) -> Tensor:
        """Ratings `[N]` from 0 to 1."""
        return self._expect([self.network.encode_images(pixels)], tuple(_WORDS.values()))


def load(source: JudgeSource) -> OneAlign:
    """Read the authors' folder.

    Args:
        source: A folder like the repository ``q-future/one-align`` of the Hub.

    Raises:
        CheckpointError: If a file is missing, or the weights are not exactly the model's.
        ModuleNotFoundError: If sentencepiece is not installed.
    """
    network = read_network(source)
    return OneAlign(network, Words(source.path, network.sizes.language.vocab_size), source)
