"""Photos that `unisim-ll-mini` can be made of, and settings under which that takes seconds."""

from __future__ import annotations

import csv
from pathlib import Path

from photo_crops import photo_crops

SETTINGS = (
    *("batch_size=2", "held_out=1"),
    "triplets={image_size = 64, sharp_draws = 2, small_photos = 3, smallest_crop = 90}",
    "language_model.hidden_size=32",
    "language_model.intermediate_size=48",
    "language_model.num_hidden_layers=1",
    "language_model.num_attention_heads=2",
    *("letters.quality=4", "judgments.quality=4", "judgments.image_image=4"),
)


def write_photos(root: Path) -> Path:
    """Write six photos where BSDS500 is looked for, and five where Flickr8k is."""
    crops = photo_crops(11)
    for place, crop in enumerate(crops[:6]):
        path = root / "bsds400" / "images" / f"{place}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.convert("RGB").resize((140, 100)).save(path)
    (root / "flickr8k" / "images").mkdir(parents=True)
    with open(root / "flickr8k" / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "caption"])
        for place, crop in enumerate(crops[6:]):
            crop.convert("RGB").resize((128, 128)).save(root / "flickr8k" / "images" / f"{place}.jpg")
            writer.writerow([f"{place}.jpg", "train", "A photo ."])
    return root
