"""Images of every kind in, one normalised batch out.

An image is a Pillow image, the path of a file, or a tensor ``[C, H, W]``: uint8 in 0–255 or float in 0–1,
with one (grey), three (RGB) or four channels (RGBA, composited onto white); or a NumPy array, with its channels
last: ``[H, W, C]``, or ``[H, W]`` if it is grey. Tensors and arrays may also be batches, ``[N, C, H, W]`` and
``[N, H, W, C]``. Sequences mix all of these, in any sizes.

Each kind takes the cheapest way that stays on the reference, Pillow's bicubic resize:

* Pillow images go through Pillow, bit for bit;
* uint8 tensors on the CPU, and files, through torch's integer kernel, on as many threads as torch uses;
* float tensors, and tensors on an accelerator, through two one-dimensional passes on their device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast

import torch
from PIL import Image
from torch import Tensor

from unisim_metrics.errors import GradientError
from unisim_metrics.images.decoding import load_image, pil_to_rgb, pil_to_tensor
from unisim_metrics.images.inputs import (
    CheckedImage,
    Images,
    check_values,
    collect_images,
)
from unisim_metrics.images.preprocessing import Preprocessing
from unisim_metrics.images.resizing import (
    flatten_alpha,
    normalise,
    normalise_bytes,
    resize_bytes,
    resize_floats,
    resize_pil,
)
from unisim_metrics.images.threads import MAX_THREADS, leave_threads_to_the_parent, run_tasks

_Task: TypeAlias = Callable[[], Tensor]

# Work is counted in pixels, those of the image and those of its crop.
_WORTH_THREADS = 2**20  # below, waking threads costs more than they save
_WORTH_A_PIECE = 2**19  # below, what a piece costs beside its pixels counts: the weights of the resize
_PIECES_A_THREAD = 4  # a thread that has to share its core takes fewer
_MOST_AT_ONCE = 2**24  # pixels that the float kernel takes in one go, to bound its memory


def read_pixels(image: CheckedImage) -> Tensor:
    """The pixels of one image at its own size: upright, in three colours, transparency on white.

    Args:
        image: A file, a Pillow image or a tensor `[C, H, W]`, as `list_images` gives it.

    Returns:
        ``[3, H, W]``, uint8 in 0–255, or float in 0–1 where the image is.

    Raises:
        ImageReadError: If a file cannot be read.
    """
    if isinstance(image, Path):
        return load_image(image)
    if isinstance(image, Image.Image):
        return pil_to_tensor(pil_to_rgb(image))
    return flatten_alpha(image[None])[0].expand(3, -1, -1)


def preprocess(
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    argument: str = "images",
) -> Tensor:
    """Resizes, crops and normalises images of any kinds and sizes into one batch.

    Tensors on an accelerator are worked on where they are; tensors on the CPU are sent to ``device`` first if
    that is an accelerator. Half-precision pixels are computed in float32, float64 in float64. The graph of
    float tensors is kept. An image's pixels do not depend on its neighbours. An image object or a file that
    occurs several times is decoded and resized once.

    Args:
        images: One image, a batch, or a sequence of both (see the module's description).
        preprocessing: What the model wants.
        device: Where the result goes; by default where the first tensor is, else the CPU.
        dtype: Type of the result.
        argument: The name of the argument in messages.

    Returns:
        ``[N, 3, S, S]`` contiguous tensor of ``dtype``, in the order of the images.

    Raises:
        TypeError: If an item is no image, or a tensor is neither uint8 nor float.
        ValueError: If there is no image; if one has the wrong number of dimensions or channels, no pixels,
            values out of range, NaN or infinity; if ``resample="pil"`` meets pixels that require a gradient.
        ImageReadError: If a file cannot be read. It is a ``ValueError`` and an ``OSError``.
    """
    if torch.compiler.is_compiling():
        # Threads, files and NumPy's bytes are no part of a graph. (As a decorator it would import the compiler.)
        eager = cast("Callable[..., Tensor]", torch.compiler.disable(_preprocess))
        return eager(images, preprocessing, device, dtype, argument)
    return _preprocess(images, preprocessing, device, dtype, argument)


def _preprocess(
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device | str | None,
    dtype: torch.dtype,
    argument: str,
) -> Tensor:
    leave_threads_to_the_parent()
    items = collect_images(images, argument)
    tensors = [item for item in items if isinstance(item, Tensor)]
    check_values(tensors, argument)
    if device is None:
        device = tensors[0].device if tensors else "cpu"
    target = torch.device(device)

    with_pil = preprocessing.resample == "pil"
    if with_pil and torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise GradientError(
            f'Argument `{argument}` must not require a gradient with `resample="pil"`, which has none: use '
            '`resample="bicubic"`.'
        )

    host = _HostWork(preprocessing)
    groups: dict[object, list[tuple[int, Tensor]]] = {}
    start = 0
    for item in items:
        if not isinstance(item, Tensor):
            host.add_single(start, item)
            start += 1
            continue
        batch = item if item.ndim == 4 else item.unsqueeze(0)
        if with_pil:
            host.add_through_pil(start, batch)
        elif batch.device.type == "cpu" and target.type == "cpu" and batch.dtype == torch.uint8:
            host.add_bytes(start, batch)
        else:
            batch = batch.to(target) if batch.device.type == "cpu" else batch
            # Equal shapes share a launch on an accelerator. On the CPU joining them would only copy.
            key = (batch.device, batch.dtype, batch.shape[1:]) if batch.device.type != "cpu" else start
            groups.setdefault(key, []).append((start, batch))
        start += len(batch)

    parts = [_float_part(group, preprocessing, target, dtype) for group in groups.values()]
    if host.tasks:
        parts.append(host.run(target, dtype))
    return _in_order(parts)


def prepare_image(image: Image.Image | Path | Tensor, preprocessing: Preprocessing) -> Tensor:
    """Decodes, resizes and crops one image on the calling thread: what can be done ahead of a batch.

    Args:
        image: A Pillow image, a file, or what was decoded from one: a uint8 tensor `[3, H, W]` on the CPU.
        preprocessing: What the model wants.

    Returns:
        ``[3, S, S]`` uint8 tensor, of which ``preprocess`` makes the pixels that it makes of the image itself.

    Raises:
        ImageReadError: If the file cannot be read.
    """
    if isinstance(image, Image.Image):
        return _prepare_pil(image, preprocessing)[0]
    pixels = load_image(image) if isinstance(image, Path) else image
    return _prepare_decoded(pixels, preprocessing)[0]


class _HostWork:
    """The images that the CPU turns into uint8 crops: files, Pillow images, uint8 tensors."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.tasks: list[_Task] = []
        self.work: float = 0
        self._places: list[tuple[range, int]] = []  # positions in the batch, index of their task
        self._known: dict[object, int] = {}
        self._workers = max(1, min(torch.get_num_threads(), MAX_THREADS))

    def add_single(self, position: int, item: Image.Image | Path) -> None:
        """A Pillow image or a file. Equal ones share a task: two threads must not load one lazy image."""
        key: object = item if isinstance(item, Path) else id(item)
        if key not in self._known:
            self._known[key] = len(self.tasks)
            work = _prepare_file if isinstance(item, Path) else _prepare_pil
            self.tasks.append(partial(cast("Callable[..., Tensor]", work), item, self.preprocessing))
            self.work += math.inf if isinstance(item, Path) else self._work_of(1, item.height, item.width)
        self._places.append((range(position, position + 1), self._known[key]))

    def add_bytes(self, position: int, batch: Tensor) -> None:
        """A batch for the integer kernel, in pieces that the threads share."""
        most = _PIECES_A_THREAD * self._workers if self._workers > 1 else 1
        worth = self._work_of(len(batch), *batch.shape[-2:]) // _WORTH_A_PIECE
        for piece in batch.chunk(max(1, min(most, worth))):
            self._add_piece(position, piece, partial(resize_bytes, piece, self.preprocessing))
            position += len(piece)

    def add_through_pil(self, position: int, batch: Tensor) -> None:
        """A batch of any dtype and device, image by image through Pillow."""
        batch = flatten_alpha(batch.detach())
        if batch.dtype != torch.uint8:
            batch = batch.to(torch.float32).clamp(0, 1).mul_(255).round_().to(torch.uint8)
        for index, image in enumerate(batch.expand(-1, 3, -1, -1).cpu().unbind()):
            self._add_piece(position + index, image[None], partial(_prepare_array, image, self.preprocessing))

    def _add_piece(self, position: int, piece: Tensor, task: _Task) -> None:
        self._places.append((range(position, position + len(piece)), len(self.tasks)))
        self.tasks.append(task)
        self.work += self._work_of(len(piece), *piece.shape[-2:])

    def _work_of(self, count: int, height: int, width: int) -> int:
        return count * (height * width + self.preprocessing.size**2)

    def run(self, target: torch.device, dtype: torch.dtype) -> tuple[list[int], Tensor]:
        """Positions in the batch, and their ``[M, 3, S, S]`` normalised pixels."""
        order = [position for places, _ in self._places for position in places]
        float_type = torch.float64 if dtype == torch.float64 else torch.float32
        on_cpu = target.type == "cpu"
        side = self.preprocessing.size
        # An accelerator gets bytes: a quarter of the transfer.
        pixels = _empty((len(order), 3, side, side), float_type if on_cpu else torch.uint8)
        rows: list[list[Tensor]] = [[] for _ in self.tasks]
        start = 0
        for places, task in self._places:
            rows[task].append(pixels[start : start + len(places)])
            start += len(places)

        def finish(task: int) -> None:
            crops = self.tasks[task]()
            for out in rows[task]:
                if on_cpu:
                    normalise_bytes(crops, self.preprocessing, out)
                else:
                    out.numpy()[...] = crops.numpy()

        workers = self._workers if self.work >= _WORTH_THREADS else 1
        run_tasks([partial(finish, task) for task in range(len(self.tasks))], workers)
        if not on_cpu:
            pixels = normalise(pixels.to(target).to(float_type).div_(255), self.preprocessing, in_place=True)
        return order, pixels.to(dtype)


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory from NumPy, which asks for huge pages: torch's own costs a fault every four kilobytes, each batch."""
    import numpy as np

    return torch.from_numpy(np.empty(shape, dtype=str(dtype).removeprefix("torch.")))


def _prepare_pil(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    return resize_pil(pil_to_rgb(image), preprocessing).unsqueeze(0)


def _prepare_file(path: Path, preprocessing: Preprocessing) -> Tensor:
    return _prepare_decoded(load_image(path), preprocessing)


def _prepare_decoded(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    if preprocessing.resample == "pil":
        return _prepare_array(pixels, preprocessing)
    return resize_bytes(pixels.unsqueeze(0), preprocessing)


def _prepare_array(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return resize_pil(image, preprocessing).unsqueeze(0)


def _float_part(
    group: list[tuple[int, Tensor]], preprocessing: Preprocessing, target: torch.device, dtype: torch.dtype
) -> tuple[list[int], Tensor]:
    """Positions and finished pixels of tensors of one device, dtype and shape."""
    batches = [batch for _, batch in group]
    batch = batches[0] if len(batches) == 1 else torch.cat(batches)
    work = torch.float64 if torch.float64 in (batch.dtype, dtype) else torch.float32
    at_once = max(1, _MOST_AT_ONCE // (batch.shape[-2] * batch.shape[-1]))
    finished = [
        normalise(resize_floats(piece, preprocessing, work), preprocessing).to(target, dtype)
        for piece in batch.chunk(math.ceil(len(batch) / at_once))
    ]
    order = [start + index for start, batch in group for index in range(len(batch))]
    return order, finished[0] if len(finished) == 1 else torch.cat(finished)


def _in_order(parts: list[tuple[list[int], Tensor]]) -> Tensor:
    """One batch of the parts, each image at its position."""
    order = [position for positions, _ in parts for position in positions]
    batch = parts[0][1] if len(parts) == 1 else torch.cat([pixels for _, pixels in parts])
    if order == sorted(order):
        return batch
    inverse = torch.tensor(order).argsort()
    return batch.index_select(0, inverse.to(batch.device))
