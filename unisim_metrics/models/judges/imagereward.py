"""ImageReward (Xu et al. 2023): BLIP that reads a prompt beside an image, and a reward on top.

Rewards are normalised as the authors do it: about 0 on average, of deviation 1, not bounded. Images are compared with
each other by the first token of the image tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NoReturn

from torch import Tensor, nn

from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.blip import TEXT, BLIPTexts, Towers, on_device, read_tokenizer, rename
from unisim_metrics.models.judges.weights import load_exactly, read_weights

if TYPE_CHECKING:
    from unisim_metrics.models.answering import Way
    from unisim_metrics.tasks import Task

# Of the rewards of the authors' validation set.
_MEAN, _DEVIATION = 0.16717362830052426, 1.0333394966054072


class Rewarded(Towers):
    """The towers with the layers that make a reward of what was read; there is nothing between them."""

    def __init__(self) -> None:
        super().__init__()
        widths = (TEXT["hidden_size"], 1024, 128, 64, 16, 1)
        linear = [nn.Linear(before, after) for before, after in pairwise(widths)]
        # Where training dropped out stands nothing, so that the layers keep their numbers.
        places = [linear[0], nn.Identity(), linear[1], nn.Identity(), linear[2], nn.Identity(), *linear[3:]]
        self.mlp = nn.ModuleDict({"layers": nn.Sequential(*places)})


class ImageReward(BLIPTexts):
    """Rewards of images for prompts."""

    tasks: ClassVar[Mapping[Task, Way]] = {
        "image-image": "embeddings",
        "image-text": "scores",
        "caption": "scores",
        "quality": "scores",
        "brightness": "scores",
        "colorfulness": "scores",
        "contrast": "scores",
        "sharpness": "scores",
        "odd-one-out": "embeddings",
    }

    towers: Rewarded

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images through the image tower: `[N, D]`, of any length."""
        return self.towers.image_tokens(pixels)[:, 0]

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> NoReturn:
        """Refuse: a text is read beside an image alone.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"Model {self.name!r} embeds images alone: it reads a text beside its image, in `score`."
        )

    def match(self, pixels: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
        """Rewards of images for texts, `[N]`."""
        read = self.towers.read(on_device(tokens, self.device), self.towers.image_tokens(pixels))
        rewards: Tensor = self.towers.mlp["layers"](read)[:, 0]
        return (rewards - _MEAN) / _DEVIATION


def load(source: JudgeSource) -> ImageReward:
    """Read the authors' file.

    Args:
        source: ``ImageReward.pt``.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
        ModelUnavailableError: If the tokenizer cannot be fetched.
    """
    weights = rename({name.removeprefix("blip."): value for name, value in read_weights(source.path).items()})
    unused = ("vision_proj.", "text_proj.")  # of the contrastive loss, in which it was not trained
    towers = Rewarded()
    load_exactly(
        towers, {name: value for name, value in weights.items() if not name.startswith(unused)}, source.path
    )
    return ImageReward(towers.eval(), read_tokenizer(source), source)
