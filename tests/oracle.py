"""Scores by hand: transformers' own CLIP with its own processor, and NumPy. Shared by the tests of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

if TYPE_CHECKING:
    from unisim_metrics.models import EncoderModel

PROMPTS = {
    "quality": ("A high-quality photo.", "Good photo.", "Bad photo."),
    "brightness": ("A bright photo.", "Bright photo.", "Dark photo."),
    "colorfulness": ("A very colorful photo.", "Colorful photo.", "Dull photo"),
    "contrast": ("A high contrast photo.", "High contrast photo.", "Low contrast photo."),
    "sharpness": ("A very sharp photo", "Sharp photo.", "Blurry photo."),
}
TEXTS = ["a photo of a dog", "red cat", "a dark image", "low quality", "a bright red dog", "cat image"]


def photos(count: int, seed: int = 0) -> list[Image.Image]:
    """Pictures of many colours and sizes: noise on a random colour."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        height, width = random.integers(33, 60, size=2)
        noise = random.integers(0, 120, size=(height, width, 3))
        pictures.append(Image.fromarray((noise + random.integers(0, 136, size=3)).astype(np.uint8)))
    return pictures


def pixels(count: int, seed: int = 0, size: int = 40) -> Tensor:
    """A batch of uint8 pictures `[N, 3, size, size]`."""
    return torch.stack([tensor_of(photo.resize((size, size))) for photo in photos(count, seed)])


def tensor_of(photo: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1)


def features_of(output: Any) -> Tensor:
    """Features as transformers gives them: bare up to version 4."""
    features: Tensor = getattr(output, "pooler_output", output)
    return features


class PlainClip:
    """A CLIP directory read and run without this package."""

    def __init__(self, directory: Path) -> None:
        from pillow_processors import CLIPImageProcessorPil
        from transformers import CLIPModel, CLIPTokenizer

        self.model = CLIPModel.from_pretrained(directory).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(directory)
        self.processor = CLIPImageProcessorPil.from_pretrained(directory)

    @torch.no_grad()
    def images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        prepared = self.processor(list(pictures), return_tensors="pt")["pixel_values"]
        return _unit(features_of(self.model.get_image_features(pixel_values=prepared)))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return _unit(features_of(self.model.get_text_features(**tokens)))

    def attribute(self, pictures: Sequence[Image.Image], task: str, method: str) -> np.ndarray:
        naive, positive, negative = PROMPTS[task]
        if method == "naive":
            return self.images(pictures) @ self.texts([naive])[0]
        similarities = self.images(pictures) @ self.texts([positive, negative]).T
        exponentials = np.exp(100 * (similarities - similarities.max(-1, keepdims=True)))
        return exponentials[:, 0] / exponentials.sum(-1)


def _unit(features: Tensor) -> np.ndarray:
    vectors = features.double().numpy()
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class OneByOne(nn.Module):
    """A user's module that takes every sample by itself: its features are bit for bit the same in any batch."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.image_weights = nn.Parameter(torch.randn(3 * 8 * 8, 6, generator=generator))
        self.text_weights = nn.Parameter(torch.randn(64, 6, generator=generator))
        self.calls = 0

    def encode_image(self, pixels: Tensor) -> Tensor:
        self.calls += 1
        return torch.stack([image.flatten() @ self.image_weights for image in pixels])

    def encode_text(self, counts: Tensor) -> Tensor:
        return torch.stack([row @ self.text_weights for row in counts])


def count_letters(texts: list[str]) -> Tensor:
    """The tokenizer of `OneByOne`: how often each character comes."""
    counts = torch.zeros(len(texts), 64)
    for row, text in enumerate(texts):
        for letter in text:
            counts[row, ord(letter) % 64] += 1
    return counts


def one_by_one(seed: int = 0) -> EncoderModel:
    """The model of a `OneByOne` module."""
    from unisim_metrics import load_model
    from unisim_metrics.images import Preprocessing

    return load_model(OneByOne(seed), tokenizer=count_letters, preprocessing=Preprocessing(size=8))  # type: ignore[return-value]
