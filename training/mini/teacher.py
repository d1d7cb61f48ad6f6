"""What the image tower starts from: an ImageNet classifier and its reading of the training photos.

The teacher is a MobileNet v2 at 224 px as an int8 TFLite file. Its weights, in float, are where the image
tower starts; its pooled features of every view, which TFLite gives several times faster than the float tower
would, are what the text tower is aligned to and what the image tower is later anchored to.
"""

from __future__ import annotations

import multiprocessing
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image
from tqdm import tqdm

from .mobilenet import Layer, build_mobilenet
from .views import View, render, write_plan

SIZE = 224
CHANNELS = 1280
SCOPE = r"MobilenetV2/(?P<scope>\w+(?:/\w+)?)/"
WEIGHT = re.compile(SCOPE + "weights_quant/FakeQuantWithMinMaxVars$")
BIAS = re.compile(SCOPE + "BatchNorm_Fold/bias$")


class Teacher:
    """The quantised network; its inner tensors stay readable after a run."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.details = self.interpreter.get_tensor_details()
        grids = [detail for detail in self.details if detail["shape"][1:].tolist() == [7, 7, CHANNELS]]
        self.grid = grids[-1]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the pooled features `[1280]` of an RGB image of 224×224, float32, in [0, 6]."""
        self.interpreter.set_tensor(self.input, np.asarray(image, dtype=np.uint8)[None])
        self.interpreter.invoke()
        return np.asarray(self._dequantised(self.grid).mean(axis=(0, 1, 2)), dtype=np.float32)

    def layers(self) -> dict[str, Layer]:
        """Return the convolutions in float, by their scope (`"expanded_conv_3/project"`)."""
        weights, biases = {}, {}
        for detail in self.details:
            if match := WEIGHT.search(detail["name"]):
                weights[match["scope"]] = self._dequantised(detail)
            # A layer's output may carry the name of its bias.
            elif (match := BIAS.search(detail["name"])) and len(detail["shape"]) == 1:
                biases[match["scope"]] = self._dequantised(detail)
        return {scope: Layer(weights[scope], bias) for scope, bias in biases.items()}

    def _dequantised(self, detail: dict[str, Any]) -> np.ndarray:
        scale, zero = detail["quantization"]
        values = self.interpreter.get_tensor(detail["index"]).astype(np.float64)
        return np.asarray((values - zero) * scale)


def write_part(part: np.ndarray, plan: list[View], teacher_path: Path, out: Path) -> None:
    """Fill the rows `part` of the features under `out`."""
    teacher = Teacher(teacher_path)
    features = np.load(out / "features.npy", mmap_mode="r+")
    for row in tqdm(part, desc="teacher", disable=part[0] != 0, mininterval=10):
        features[row] = teacher(render(plan[row], SIZE))
    features.flush()


def write_views(plan: list[View], root: Path, teacher_path: Path, out: Path, workers: int) -> None:
    """Write `views.json`, `features.npy` and the float network `mobilenet/` to the folder `out`."""
    build_mobilenet(Teacher(teacher_path).layers(), image_size=SIZE).save_pretrained(out / "mobilenet")
    write_plan(plan, root, out)
    open_memmap(out / "features.npy", "w+", np.float32, (len(plan), CHANNELS))
    parts = [np.arange(len(plan))[worker::workers] for worker in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(partial(write_part, plan=plan, teacher_path=teacher_path, out=out), parts, chunksize=1)
