"""PAC-S (Sarto et al. 2023): CLIP tuned on generated captions and images, for judging captions.

Every text is read as the authors read a caption, behind “A photo depicts”. The score is the cosine of image and text;
the published PAC-S is twice that, and 0 where it is negative.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.open_clip import OpenCLIPEncoder
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.weights import build_clip, read_weights

PREFIX = "A photo depicts "


class PACSEncoder(OpenCLIPEncoder):
    """A CLIP whose texts all begin in one way."""

    @property
    def input_tag(self) -> str:
        """How images and texts are prepared, for the signature."""
        return f"{self.preprocessing}-depicts"

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids `[N, L]` of the prefix and the texts, padded to the context."""
        return super().tokenize([PREFIX + text for text in texts])

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether, behind the prefix, it is longer than the context."""
        return super().find_long_texts([PREFIX + text for text in texts])


def load(source: JudgeSource) -> PACSEncoder:
    """Read the authors' file.

    Args:
        source: For ``"pac-s-vit-b-32"`` ``clip_ViT-B-32.pth``, OpenAI's CLIP with QuickGELU; for ``"pac-s-vit-l-14"``
            ``openClip_ViT-L-14.pth``, open_clip's with GELU and pixels from −1 to 1.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    import open_clip

    is_large = source.name == "pac-s-vit-l-14"
    sizes: dict[str, Any] = open_clip.get_model_config("ViT-L-14" if is_large else "ViT-B-32-quickgelu")
    model = build_clip(read_weights(source.path), sizes, source.path)
    preprocessing = Preprocessing(size=sizes["vision_cfg"]["image_size"], crop="round")
    if is_large:
        halves = (0.5, 0.5, 0.5)
        preprocessing = dataclasses.replace(preprocessing, mean=halves, std=halves)
    tokenizer = open_clip.SimpleTokenizer(context_length=sizes["text_cfg"]["context_length"])
    return PACSEncoder(model, tokenizer, source.name, preprocessing, source.truncate)
