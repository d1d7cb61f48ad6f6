"""Views after the frozen part of the image tower, computed once.

The tower's lower blocks are never trained, and are most of its work: a step of training reads what they gave from
a file of float16 and goes on from there.
"""

from __future__ import annotations

import multiprocessing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from tqdm import tqdm
from transformers import EfficientNetModel

from unisim_metrics.images import Preprocessing, load_image, preprocess

from .efficientnet import MEAN, SIZE, STD, lower, upper
from .views import View, read_plan, render, write_plan

PREPARED = Preprocessing(size=SIZE, mean=(MEAN,) * 3, std=(STD,) * 3)
ACTIVATIONS, FEATURES = "activations.npy", "features.npy"
BATCH = 16


def write_activations(
    views: list[View], root: Path, tower: Path, frozen_blocks: int, out: Path, workers: int
) -> None:
    """Write `views.json`, `activations.npy` `[N, C, H, W]` and `features.npy` `[N, C]`, float16, to a folder.

    Args:
        views: What to pass through the tower.
        root: The data root.
        tower: The directory of the whole image tower.
        frozen_blocks: How many of its blocks belong to the frozen part, whose output is the activations; the
            features are those of the whole.
        out: The folder.
        workers: Processes of one thread each, which are faster than one of several.
    """
    write_plan(views, out)
    model = _read_tower(tower)
    with torch.inference_mode():
        hidden = lower(model, torch.zeros(1, 3, SIZE, SIZE), frozen_blocks)
        width = upper(model, hidden, frozen_blocks).shape[1]
    open_memmap(out / ACTIVATIONS, "w+", np.float16, (len(views), *hidden.shape[1:]))
    open_memmap(out / FEATURES, "w+", np.float16, (len(views), width))
    parts = [np.arange(start, min(start + BATCH, len(views))) for start in range(0, len(views), BATCH)]
    shares = [parts[worker::workers] for worker in range(workers)]
    fill = partial(_fill, root=root, tower=tower, frozen_blocks=frozen_blocks, out=out)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(fill, shares, chunksize=1)


def read_activations(folder: Path) -> np.ndarray:
    """The activations that `write_activations` wrote; they stay in the file until they are asked for."""
    activations: np.ndarray = np.load(folder / ACTIVATIONS, mmap_mode="r")
    return activations


def read_features(folder: Path) -> Tensor:
    """The features that it wrote, float32."""
    return torch.from_numpy(np.load(folder / FEATURES)).float()


def _fill(parts: list[np.ndarray], root: Path, tower: Path, frozen_blocks: int, out: Path) -> None:
    torch.set_num_threads(1)
    model = _read_tower(tower)
    views = read_plan(out)
    activations, features = (np.load(out / name, mmap_mode="r+") for name in (ACTIVATIONS, FEATURES))
    first = bool(parts) and parts[0][0] == 0
    for rows in tqdm(parts, desc="views", disable=not first, mininterval=20):
        images = [render(views[row], load_image(root / views[row].path)) for row in rows]
        pixels = preprocess(images, PREPARED).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            hidden = lower(model, pixels, frozen_blocks)
            activations[rows] = hidden.to(torch.float16).numpy()
            features[rows] = upper(model, hidden, frozen_blocks).to(torch.float16).numpy()
    activations.flush()
    features.flush()


def _read_tower(folder: Path) -> EfficientNetModel:
    tower: EfficientNetModel = EfficientNetModel.from_pretrained(folder, trust_remote_code=False).eval()
    nn.Module.to(tower, memory_format=torch.channels_last)
    return tower
