"""What the teacher saw: views of the training photos with the features a MobileNet gave them.

The teacher is an ImageNet classifier as an int8 TFLite file (MobileNet v2, 224 px). Its last
feature map is a 7×7 grid, as is the patch grid of the student at 112 px, so every patch token
of the student has a target of its own: from few photos, that teaches far more than one
embedding an image would.

    python -m unisim_metrics.training.mini.teacher --data DATA --teacher MODEL.tflite --out VIEWS
"""

from __future__ import annotations

import argparse
import multiprocessing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image
from tqdm import tqdm

from unisim_metrics.training.mini import photos

VIEW_SIZE = 112
TEACHER_SIZE = 224
GRID = 7
CHANNELS = 1280
CLASSES = 1001
CROP_AREA = (0.35, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class View:
    """A crop of a photo: `box` is (left, top, right, bottom) in pixels, None for the whole centre."""

    path: Path
    box: tuple[float, float, float, float] | None


def plan_views(root: Path, views: int, bsds_views: int, seed: int) -> list[View]:
    """Choose the views of every training photo: the centre first, then random resized crops."""
    rng = np.random.default_rng(seed)
    materials = [
        path
        for folder in photos.material_images(root)
        for index, path in enumerate(folder)
        if index not in photos.held_out_materials(len(folder))
    ]
    counted = [(path, views) for path in photos.flickr8k_captions(root, "train")]
    counted += [(path, views) for path in photos.tiny_imagenet_labels(root)]
    counted += [(path, views) for path in materials]
    counted += [(path, bsds_views) for path in photos.bsds_photos(root, held_out=False)]
    plan = []
    for path, count in counted:
        with Image.open(path) as image:
            size = image.size
        plan += [View(path, None)] + [View(path, random_box(size, rng)) for _ in range(count - 1)]
    return plan


def random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw a crop of random area and aspect ratio inside an image of `size` (width, height)."""
    width, height = size
    area = width * height * rng.uniform(*CROP_AREA)
    ratio = np.exp(rng.uniform(*np.log(CROP_RATIO)))
    crop_width = min(np.sqrt(area * ratio), width)
    crop_height = min(np.sqrt(area / ratio), height)
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    return left, top, left + crop_width, top + crop_height


def square(view: View, size: int) -> Image.Image:
    """Render a view as a square RGB image of `size` pixels."""
    with Image.open(view.path) as image:
        rgb = image.convert("RGB")
    if view.box is not None:
        return rgb.resize((size, size), Image.Resampling.BICUBIC, box=view.box)
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    return rgb.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


class Teacher:
    """A TFLite MobileNet whose inner tensors stay readable after a run."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        details = self.interpreter.get_tensor_details()
        self.grid = self._last(details, (1, GRID, GRID, CHANNELS))
        self.logits = self._before_softmax(details)

    @staticmethod
    def _last(details: list[dict], shape: tuple[int, ...]) -> dict:
        return [tensor for tensor in details if tuple(tensor["shape"]) == shape][-1]

    @staticmethod
    def _before_softmax(details: list[dict]) -> dict:
        scores = [tensor for tensor in details if tuple(tensor["shape"]) == (1, CLASSES)]
        return next(tensor for tensor in scores if "Softmax" not in tensor["name"])

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """Return the uint8 feature grid `[7, 7, 1280]` and the float logits `[1001]`."""
        self.interpreter.set_tensor(self.input, np.asarray(image, dtype=np.uint8)[None])
        self.interpreter.invoke()
        grid = self.interpreter.get_tensor(self.grid["index"])[0]
        scale, zero = self.logits["quantization"]
        logits = self.interpreter.get_tensor(self.logits["index"])[0].astype(np.float32)
        return grid, (logits - zero) * scale


def write_part(part: np.ndarray, plan: list[View], teacher_path: Path, out: Path) -> None:
    """Fill the rows `part` of the arrays under `out`."""
    teacher = Teacher(teacher_path)
    pixels, grids, logits = (
        np.load(out / f"{name}.npy", mmap_mode="r+") for name in ("pixels", "grids", "logits")
    )
    for row in tqdm(part, desc="teacher", disable=part[0] != 0, mininterval=10):
        pixels[row] = np.asarray(square(plan[row], VIEW_SIZE)).transpose(2, 0, 1)
        grids[row], logits[row] = teacher(square(plan[row], TEACHER_SIZE))
    for array in (pixels, grids, logits):
        array.flush()


def write_views(
    root: Path, teacher_path: Path, out: Path, views: int, bsds_views: int, seed: int, workers: int
) -> None:
    """Write `pixels`, `grids`, `logits` and `paths` of every view as `.npy` files under `out`."""
    plan = plan_views(root, views, bsds_views, seed)
    out.mkdir(parents=True, exist_ok=True)
    open_memmap(out / "pixels.npy", "w+", np.uint8, (len(plan), 3, VIEW_SIZE, VIEW_SIZE))
    open_memmap(out / "grids.npy", "w+", np.uint8, (len(plan), GRID, GRID, CHANNELS))
    open_memmap(out / "logits.npy", "w+", np.float16, (len(plan), CLASSES))
    np.save(out / "paths.npy", np.array([str(view.path.relative_to(root)) for view in plan]))
    parts = [np.arange(len(plan))[worker::workers] for worker in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(partial(write_part, plan=plan, teacher_path=teacher_path, out=out), parts, chunksize=1)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data root, see photos.py")
    parser.add_argument("--teacher", type=Path, required=True, help="the MobileNet v2 .tflite file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the views")
    parser.add_argument("--views", type=int, default=3, help="views of each photo")
    parser.add_argument("--bsds-views", type=int, default=8, help="views of each BSDS photo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    write_views(
        arguments.data,
        arguments.teacher,
        arguments.out,
        arguments.views,
        arguments.bsds_views,
        arguments.seed,
        arguments.workers,
    )


if __name__ == "__main__":
    main()
