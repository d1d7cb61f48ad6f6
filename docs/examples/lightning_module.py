"""UniSim in a Lightning module: a network that cleans noisy photos, trained and watched by UniSim.

python lightning_module.py PHOTOS --epochs 10
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import center_crop

from unisim_metrics import UniSimLoss, UniSimScore, load_model
from unisim_metrics.images import load_image


class Photos(Dataset[Tensor]):
    """The middle of every photo of a folder, float in [0, 1]."""

    def __init__(self, folder: Path, size: int = 64) -> None:
        self.paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
        self.size = size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return center_crop(load_image(self.paths[index]), [self.size, self.size]) / 255


class Cleaner(lightning.LightningModule):
    """Takes noise off photos; its loss and its validation are UniSim's."""

    def __init__(self, model: str = "unisim-mini", noise: float = 0.2, width: int = 32) -> None:
        super().__init__()
        self.noise = noise
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, 3, 3, padding=1)
        )
        unisim = load_model(model)  # read once for all three; not part of checkpoints
        self.perceptual = UniSimLoss(unisim)
        self.similarity = UniSimScore(unisim, task="image-image")
        self.quality = UniSimScore(unisim, task="quality")

    def forward(self, photos: Tensor) -> Tensor:
        """Add noise to photos, and take it off."""
        noisy = photos + self.noise * torch.randn_like(photos)
        return (noisy + self.net(noisy)).clamp(0, 1)

    def training_step(self, photos: Tensor, index: int) -> Tensor:
        """Close to the photo in its pixels and by UniSim."""
        cleaned = self(photos)
        loss = nn.functional.mse_loss(cleaned, photos) + 0.1 * self.perceptual(cleaned, photos)
        self.log("loss", loss)
        return loss

    def validation_step(self, photos: Tensor, index: int) -> None:
        """Lightning computes, synchronises and resets what is logged at the end of the epoch."""
        cleaned = self(photos)
        self.similarity.update(cleaned, photos)
        self.quality.update(cleaned)
        self.log("similarity", self.similarity, prog_bar=True)
        self.log("quality", self.quality)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """UniSim's weights are not among the parameters."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def train(photos: Path, out: Path, epochs: int = 10, model: str = "unisim-mini") -> tuple[Cleaner, Path]:
    """Train, and return the module with the checkpoint of the highest similarity."""
    lightning.seed_everything(0)
    best = lightning.pytorch.callbacks.ModelCheckpoint(out, monitor="similarity", mode="max")
    cleaner = Cleaner(model)
    trainer = lightning.Trainer(max_epochs=epochs, callbacks=[best], logger=False, default_root_dir=out)
    data = Photos(photos)
    trainer.fit(cleaner, DataLoader(data, batch_size=8, shuffle=True), DataLoader(data, batch_size=8))
    print({name: round(float(value), 4) for name, value in trainer.callback_metrics.items()})
    print(cleaner.similarity.signature)
    return cleaner, Path(best.best_model_path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/lightning"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--model", default="unisim-mini")
    train(**vars(parser.parse_args()))
