"""Random views of a picture, so that a reward is raised by what is seen rather than by a pattern of single pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Random crops, flips and noise, the same for every picture of a batch.

    Attributes:
        views: How many views a gradient is averaged over.
        crop: The smallest side of a crop as a share of the picture's; 1 crops nothing.
        flip: Whether views are mirrored at random.
        noise: Standard deviation of the noise on pixels in [0, 1].
        seed: Decides all of it, together with the number of the gradient.
    """

    views: int = 4
    crop: float = 0.8
    flip: bool = True
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"Argument `views` must be at least 1, but got {self.views}.")
        if not 0 < self.crop <= 1:
            raise ValueError(f"Argument `crop` must be above 0 and at most 1, but got {self.crop}.")
        if self.noise < 0:
            raise ValueError(f"Argument `noise` must be at least 0, but got {self.noise}.")

    def __call__(self, pictures: Tensor, number: int) -> Iterator[Tensor]:
        """Make views of pictures, with gradients to them.

        Args:
            pictures: `[B, 3, H, W]`.
            number: Of the gradient that the views are for.

        Yields:
            `[B, 3, h, w]`, no larger than the pictures.
        """
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        height, width = pictures.shape[-2:]
        for _ in range(self.views):
            share, top, left, mirrored = torch.rand(4, generator=generator).tolist()
            share = 1 - share * (1 - self.crop)
            rows, columns = max(1, round(height * share)), max(1, round(width * share))
            top, left = round(top * (height - rows)), round(left * (width - columns))
            view = pictures[..., top : top + rows, left : left + columns]
            if self.flip and mirrored < 0.5:
                view = view.flip(-1)
            noise = torch.randn(view.shape[1:], generator=generator).to(view)
            yield view + self.noise * noise
