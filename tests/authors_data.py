"""A data root of all sets in small and a random CLIP, both by formula: what the recorded run of the authors' code saw.

Images are what a hash of their name says, so that a file is the same wherever and whenever it is written. Nothing but
the raw stream of PCG64 is used, which NumPy promises never to change.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable
from pathlib import Path

import benchmark_data as layout
import numpy as np
import torch
from conftest import write_clip
from PIL import Image

IMAGES = {".png", ".jpg", ".JPG", ".bmp", ".webp"}
# A fine class of CIFAR-100 in each coarse one.
CIFAR_FINE = (4, 1, 54, 9, 0, 22, 5, 6, 3, 12, 23, 15, 34, 26, 2, 27, 36, 47, 8, 41)
WRITERS = tuple(
    write
    for write in layout.WRITERS
    if write.__name__ not in ("write_cifar", "write_imagenet", "write_kadid")
)


def numbers(name: str, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1) that a name stands for."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big")
    return np.asarray(np.random.PCG64(seed).random_raw(count), dtype=np.uint64) / 2.0**64


def picture(name: str) -> Image.Image:
    """Coarse blocks of colour under fine noise; plain, partly transparent, of a palette, or turned by a tag."""
    values = numbers(name, 3 + 3 * 20 + 44 * 36 * 4)
    width, height = 34 + int(values[0] * 10), 34 + int(values[1] * 2)
    blocks = Image.fromarray((values[3:63].reshape(4, 5, 3) * 255).astype(np.uint8))
    base = np.asarray(blocks.resize((width, height), Image.Resampling.NEAREST), dtype=np.float64)
    noise = values[63 : 63 + height * width * 4].reshape(height, width, 4)
    pixels = np.clip(base + (noise[..., :3] - 0.5) * 60, 0, 255).astype(np.uint8)
    kind = int(values[2] * 4)
    if kind == 1 and not name.startswith("sice"):
        alpha = (noise[..., 3:] * 256).astype(np.uint8)
        return Image.fromarray(np.concatenate([pixels, alpha], axis=-1))
    if kind == 2:
        return Image.fromarray(pixels).quantize(16, dither=Image.Dither.NONE)
    return Image.fromarray(pixels)


def write_picture(root: Path, name: str) -> Path:
    """Write the picture of a name under the root; as PNG, whatever the name ends in: readers look at the content."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    # The Hub's own library turns the images of ImageReward before anybody sees them.
    if numbers(f"{name} turned", 1)[0] < 0.25 and not name.startswith("imagereward"):
        exif[0x0112] = 6
    picture(name).save(path, "PNG", exif=exif)
    return path


def write_cifar(root: Path) -> None:
    pixels = (numbers("cifar", 80 * 3 * 16) * 255).astype(np.uint8).reshape(80, 3, 4, 4)
    labels = [index % 20 for index in range(80)]
    content = {
        b"data": pixels.repeat(8, axis=2).repeat(8, axis=3).reshape(80, -1),
        b"coarse_labels": labels,
        b"fine_labels": [CIFAR_FINE[label] for label in labels],
    }
    path = root / "cifar-100-python" / "test"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_kadid(root: Path) -> None:
    names = [
        f"I{photo:02d}_{kind:02d}_{level:02d}.png"
        for photo in range(1, 82)
        for kind in range(1, 26)
        for level in range(1, 6)
    ]
    rows = [[name, f"{name[:3]}.png", 3, 0.5] for name in names]
    layout.write_csv(root / "kadid10k" / "dmos.csv", [["dist_img", "ref_img", "dmos", "var"], *rows])


def write_root(root: Path, others: Iterable[str] = ()) -> Path:
    """Write the annotations of all sets and their images; of KADID-10k and ImageNet those that are named."""
    for write in (*WRITERS, layout.write_imagereward, write_cifar, write_kadid):
        write(root)
    for path in sorted(root.rglob("*")):
        if path.suffix in IMAGES:
            write_picture(root, path.relative_to(root).as_posix())
    for name in others:
        write_picture(root, name)
    return root


def write_model(directory: Path) -> Path:
    """Write a tiny CLIP whose weights are uniform numbers."""
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(write_clip(directory))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                scale = 0.35 if "embedding" in name else 0.26
                values = (2 * numbers(f"weights of {name}", weight.numel()) - 1) * scale
                weight.copy_(torch.from_numpy(values.reshape(weight.shape)).float())
            elif name.endswith("bias"):
                weight.copy_(torch.from_numpy((2 * numbers(f"weights of {name}", weight.numel()) - 1) * 0.09))
    model.save_pretrained(directory)
    return directory
