"""UniSim in a plain loop of Accelerate: a network that cleans noisy photos, on any number of processes.

accelerate launch accelerate_loop.py PHOTOS --epochs 10
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import center_crop

from unisim_metrics import UniSimLoss, UniSimScore, load_model
from unisim_metrics.images import load_image


class Photos(Dataset[tuple[Tensor, Tensor]]):
    """The middle of every photo of a folder, float in [0, 1], and the same with noise."""

    def __init__(self, folder: Path, size: int = 64, noise: float = 0.2) -> None:
        self.paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
        self.size = size
        self.noise = noise

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        photo = center_crop(load_image(self.paths[index]), [self.size, self.size]) / 255
        noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(index))
        return photo, (photo + self.noise * noise).clamp(0, 1)


class Cleaner(nn.Module):
    """Takes noise off photos."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, noisy: Tensor) -> Tensor:
        """Add what the network finds to be missing."""
        return (noisy + self.net(noisy)).clamp(0, 1)


@torch.no_grad()
def validate(accelerator: Accelerator, cleaner: nn.Module, loader: DataLoader, metric: UniSimScore) -> float:
    """The mean similarity of cleaned photos to their originals, the same on every process."""
    scores = []
    for photos, noisy in loader:
        # One score a sample. Every process scores its own; what is gathered leaves out the samples that
        # Accelerate repeats to fill the last batch.
        scores.append(accelerator.gather_for_metrics(metric(cleaner(noisy), photos)))
    metric.reset()
    return torch.cat(scores).mean().item()


def train(photos: Path, epochs: int = 10, model: str = "unisim-mini") -> list[float]:
    """Train, and return the similarity before the first epoch and after each."""
    set_seed(0)
    accelerator = Accelerator()
    data, cleaner = Photos(photos), Cleaner()
    optimizer = torch.optim.Adam(cleaner.parameters(), lr=1e-3)
    loaders = DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=8)
    cleaner, optimizer, training, validation = accelerator.prepare(cleaner, optimizer, *loaders)
    unisim = load_model(model, device=accelerator.device)
    perceptual = UniSimLoss(unisim)
    metric = UniSimScore(unisim, task="image-image", reduction="none").to(accelerator.device)

    history = [validate(accelerator, cleaner, validation, metric)]
    for epoch in range(epochs):
        for photos_of_batch, noisy in training:
            cleaned = cleaner(noisy)
            loss = nn.functional.mse_loss(cleaned, photos_of_batch) + 0.1 * perceptual(
                cleaned, photos_of_batch
            )
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        history.append(validate(accelerator, cleaner, validation, metric))
        accelerator.print(f"epoch {epoch}: similarity {history[-1]:.4f}")
    accelerator.print(metric.signature)
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--model", default="unisim-mini")
    train(**vars(parser.parse_args()))
