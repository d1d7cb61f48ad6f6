"""The teacher's views as training batches: pixels with the targets that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

# One step of the teacher's uint8 feature map (ReLU6 over 255 steps).
FEATURE_SCALE = 6 / 255


@dataclass(frozen=True)
class Batch:
    """Views and the teacher's reading of them."""

    rows: np.ndarray
    pixels: Tensor  # uint8 [N, 3, S, S]
    grid: Tensor  # float [N, S', S', C], compressed by a square root
    logits: Tensor  # float [N, K]


class Views:
    """The folder that `teacher.py` wrote, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        self.grids = np.load(folder / "grids.npy", mmap_mode="r")
        self.logits = np.load(folder / "logits.npy", mmap_mode="r")
        self.paths: list[str] = np.load(folder / "paths.npy").tolist()

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def rows_of(self) -> dict[str, list[int]]:
        """The rows of each photo, by its path relative to the data root."""
        rows: dict[str, list[int]] = {}
        for row, path in enumerate(self.paths):
            rows.setdefault(path, []).append(row)
        return rows

    @cached_property
    def pooled(self) -> Tensor:
        """The teacher's pooled embedding of every view, centred, float `[N, C]`."""
        parts = [
            self.grids[start : start + 512].mean(axis=(1, 2), dtype=np.float32)
            for start in tqdm(range(0, len(self), 512), desc="pooling", mininterval=10)
        ]
        pooled = torch.from_numpy(np.concatenate(parts)) * FEATURE_SCALE
        return pooled - pooled.mean(dim=0)

    @cached_property
    def grid_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel of the square-rooted grid, from 2,000 views."""
        rows = np.linspace(0, len(self) - 1, min(2000, len(self))).astype(int)
        grid = (torch.from_numpy(self.grids[rows]).float() * FEATURE_SCALE).sqrt().flatten(0, 2)
        return grid.mean(dim=0), grid.std(dim=0).clamp_min(1e-3)

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Read rows, each mirrored with probability one half (the teacher's grid along with it)."""
        rows = np.sort(rows)
        pixels = torch.from_numpy(self.pixels[rows])
        grid = torch.from_numpy(self.grids[rows])
        mirrored = torch.from_numpy(rng.random(len(rows)) < 0.5)
        pixels[mirrored] = pixels[mirrored].flip(-1)
        grid[mirrored] = grid[mirrored].flip(-2)
        logits = torch.from_numpy(self.logits[rows].astype(np.float32))
        return Batch(rows, pixels, (grid.float() * FEATURE_SCALE).sqrt(), logits)
