"""A judge that answers some tasks only, each in another way: by a space of its own, a pair score, a rating."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from oracle import count_letters
from PIL import Image
from torch import Tensor, nn

from unisim_metrics.images import Preprocessing, Resample
from unisim_metrics.models.answering import Way
from unisim_metrics.models.judges.base import Judge
from unisim_metrics.tasks import Task


class Scale(nn.Module):
    """Its one weight is what ratings are multiplied by."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))


class PartialJudge(Judge):
    """Images are alike in their corners, good where they are bright, and like a text by their red and its letters."""

    tasks: ClassVar[Mapping[Task, Way]] = {
        "image-image": "embeddings",
        "odd-one-out": "embeddings",
        "image-text": "scores",
        "quality": "scores",
        "brightness": "scores",
    }
    views: ClassVar[Mapping[Task, str]] = {"image-image": "corners", "odd-one-out": "corners"}
    rated: ClassVar[frozenset[Task]] = frozenset(("quality",))

    def __init__(self, resample: Resample = "pil") -> None:
        preprocessing = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1), resample=resample)
        super().__init__(Scale(), "partial", preprocessing)
        self.encoded = 0

    def encode_view(self, pixels: Tensor, view: str) -> Tensor:
        assert view == "corners"
        self.encoded += len(pixels)
        return pixels[:, :, ::7, ::7].flatten(1)

    def tokenize(self, texts: Any) -> dict[str, Tensor]:
        return {"letters": count_letters(list(texts)).sum(dim=1)}

    def find_long_texts(self, texts: Any) -> list[bool]:
        return [False for _ in texts]

    def rate(self, pixels: Tensor) -> Tensor:
        return self.backbone.factor * pixels.mean(dim=(1, 2, 3))

    def match(self, pixels: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
        return pixels[:, 0].mean(dim=(1, 2)) * tokens["letters"]


def small(image: Image.Image) -> np.ndarray:
    """What the judge sees of an image, by Pillow alone: short side 8, centre crop, `[8, 8, 3]`."""
    side = min(image.size)
    width, height = (int(8 * length / side) for length in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 8) // 2, (height - 8) // 2
    return np.asarray(resized.crop((left, top, left + 8, top + 8)), dtype=np.float64) / 255


def corners(image: Image.Image) -> np.ndarray:
    vector = small(image)[::7, ::7].transpose(2, 0, 1).ravel()
    return vector / np.linalg.norm(vector)


def rating(image: Image.Image) -> float:
    return float(2 * small(image).mean())


def likeness(image: Image.Image, text: str) -> float:
    return float(small(image)[..., 0].mean() * len(text))
