"""What is in a picture of a scene, told without UniSim: by a small classifier, and by counting pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import pil_to_tensor

from .drawing import (
    COLOURS,
    GROUNDS,
    SHAPES,
    Scene,
    draw,
    random_scene,
)

ATTRIBUTES: dict[str, tuple[str, ...]] = {"shape": SHAPES, "colour": tuple(COLOURS), "ground": GROUNDS}
_TRAINING = 10_000_000  # seeds from here on: neither the diffusion model nor a measurement meets them
_TEST = 20_000_000
_VIVID = 0.36  # chroma that only objects have
_FEWEST = 12  # vivid pixels that make an object


class Judge(nn.Module):
    """A convolutional network with a head for shape, colour and ground each."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 96)
        layers: list[nn.Module] = []
        for before, width in pairwise(widths):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(
            *layers, nn.Conv2d(widths[-1], 96, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1)
        )
        self.heads = nn.ModuleDict({name: nn.Linear(96, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits `[N, values]` of each attribute, of pictures `[N, 3, 64, 64]` in [0, 1]."""
        features = self.body(pixels - 0.5).flatten(1)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def describe(self, pictures: Sequence[Image.Image]) -> list[dict[str, str]]:
        """Name shape, colour and ground of each picture."""
        logits = self(_pixels(pictures))
        chosen = {name: values.argmax(1).tolist() for name, values in logits.items()}
        return [
            {name: ATTRIBUTES[name][rows[index]] for name, rows in chosen.items()}
            for index in range(len(pictures))
        ]


def train_judge(scenes: int = 6000, epochs: int = 8, seed: int = 0) -> Judge:
    """Train a judge on freshly drawn scenes; blur and noise make it as indifferent to texture as a person."""
    drawn = [random_scene(_TRAINING + index) for index in range(scenes)]
    pixels, labels = _pixels([draw(scene) for scene in drawn]), _labels(drawn)
    torch.manual_seed(seed)
    judge = Judge()
    batch = 64
    steps = epochs * (scenes // batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(scenes)
        for rows in torch.split(order[: scenes // batch * batch], batch):
            pictures = pixels[rows]
            if torch.rand(()) < 0.5:
                pictures = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            pictures = pictures + torch.randn_like(pictures) * torch.rand(()) * 0.08
            logits = judge(pictures)
            loss = torch.stack(
                [F.cross_entropy(logits[name], labels[name][rows]) for name in ATTRIBUTES]
            ).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return judge.eval()


def unseen_scenes(count: int) -> list[Scene]:
    """Scenes that nothing was trained on, to test the judges."""
    return [random_scene(_TEST + index) for index in range(count)]


def accuracy(judge: Judge, pictures: Sequence[Image.Image], scenes: Sequence[Scene]) -> dict[str, float]:
    """How often the judge is right about pictures of known scenes, and how often the pixel count is."""
    told = judge.describe(pictures)
    shares = {
        name: float(
            np.mean([words[name] == getattr(scene, name) for words, scene in zip(told, scenes, strict=True)])
        )
        for name in ATTRIBUTES
    }
    counted = [
        object_colour(picture) == scene.colour for picture, scene in zip(pictures, scenes, strict=True)
    ]
    return {**shares, "colour by pixels": float(np.mean(counted))}


def object_colour(picture: Image.Image) -> str | None:
    """Name the colour that most vivid pixels are nearest to in hue; None where there is no vivid object."""
    pixels = np.asarray(picture.convert("RGB"), dtype=float) / 255
    vivid = pixels[np.ptp(pixels, axis=-1) > _VIVID]
    if len(vivid) < _FEWEST:
        return None
    palette = _hues(np.array(list(COLOURS.values()), dtype=float) / 255)
    away = np.abs(_hues(vivid)[:, None] - palette)
    votes = np.minimum(away, 360 - away).argmin(axis=1)
    named: str = tuple(COLOURS)[int(np.bincount(votes).argmax())]
    return named


def _hues(colours: np.ndarray) -> np.ndarray:
    """Hue angles of `[N, 3]` colours, in degrees, on the plane across the grey axis."""
    red, green, blue = colours.T
    angles: np.ndarray = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
    return angles % 360


def _pixels(pictures: Sequence[Image.Image]) -> Tensor:
    return torch.stack([pil_to_tensor(picture) for picture in pictures]).float() / 255


def _labels(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    return {
        name: torch.tensor([values.index(cast(str, getattr(scene, name))) for scene in scenes])
        for name, values in ATTRIBUTES.items()
    }
