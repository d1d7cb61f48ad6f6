"""What the `evaluate` module takes for an image, a text or a group of candidates, in the form that its cache keeps.

`datasets.Image` alone will not do: it stores an opened image by its file's name, whatever was done to the pixels since,
and one opened from memory in the format it came in, JPEG included. Here an image is kept as lossless pixels, a path
as a path, so that each is scored as `UniSimScore` scores a PIL image or a `pathlib.Path`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from unisim_metrics.images import list_images
from unisim_metrics.images.decoding import DECODING_ERRORS, pil_to_rgb, unreadable
from unisim_metrics.integrations.evaluate.files import NamedFiles, same_file
from unisim_metrics.maths.ranking import check_choices
from unisim_metrics.tasks import Modality

StoredImage: TypeAlias = dict[str, Any]
"""What `datasets.Image(decode=False)` stores: `{"bytes": PNG or None, "path": name of `NamedFiles` or None}`."""

_ARRAY_CHANNELS = (1, 3, 4)


def store_items(items: Iterable[Any], modality: Modality, argument: str, files: NamedFiles) -> list[Any]:
    """Check images or texts and bring them into the form that is stored.

    Args:
        items: Images (PIL images, paths, uint8 arrays `[H, W]` or `[H, W, C]`, undecoded rows of a dataset) or
            texts.
        modality: Which of the two is expected.
        argument: How messages call the items.
        files: The files that were added before.

    Raises:
        ValueError: If it is not a list, or an image's shape, mode or file is none that can be scored.
        TypeError: If an item is neither image nor text, or not the one expected.
    """
    items = _listed(items, argument)
    if modality == "text":
        return [_store_text(item, f"{argument}[{index}]") for index, item in enumerate(items)]
    stored: dict[int, StoredImage] = {}  # an image that stands several times is compressed once
    for index, item in enumerate(items):
        if id(item) not in stored:
            stored[id(item)] = _store_image(item, f"{argument}[{index}]", files)
    return [stored[id(item)] for item in items]


def store_alike(items: Iterable[Any], argument: str, files: NamedFiles) -> list[Any]:
    """Do as `store_items` where both are welcome, but not together: a str is a text, all else an image.

    Args:
        items: Images or texts.
        argument: How messages call the items.
        files: The files that were added before.

    Raises:
        ValueError: If there are images and texts, or an image cannot be scored.
        TypeError: If an item is neither image nor text.
    """
    items = _listed(items, argument)
    kinds: set[Modality] = {"text" if isinstance(item, str) else "image" for item in items}
    if len(kinds) > 1:
        raise ValueError(
            f"Argument `{argument}` must hold only images or only texts, but got both. Image files are named by"
            " `pathlib.Path`; a str is a text."
        )
    return store_items(items, kinds.pop() if kinds else "text", argument, files)


def store_groups(groups: Iterable[Any], argument: str, files: NamedFiles) -> list[list[Any]]:
    """Check groups of candidates, all images or all texts, and bring them into the form that is stored.

    Args:
        groups: For each sample its N ≥ 2 candidates; groups may differ in size.
        argument: How messages call the groups.
        files: The files that were added before.

    Raises:
        ValueError: If groups are too small or mix images and texts, or an image cannot be scored.
        TypeError: If an item is neither image nor text.
    """
    listed = [_listed(group, f"{argument}[{index}]") for index, group in enumerate(_listed(groups, argument))]
    sizes = [len(group) for group in listed]
    if min(sizes, default=2) < 2:
        raise ValueError(
            f"Argument `{argument}` must hold at least two candidates a group,"
            f" but group {sizes.index(min(sizes))} has {min(sizes)}."
        )
    stored = iter(store_alike([item for group in listed for item in group], argument, files))
    return [[next(stored) for _ in group] for group in listed]


def store_choices(choices: Iterable[Any], groups: Sequence[Sequence[Any]]) -> list[int | None]:
    """Check the index of the chosen candidate of each group; None where there was no choice.

    Raises:
        ValueError: If one is out of range.
        TypeError: If one is no integer.
    """
    listed = list(choices)
    made = [index for index, choice in enumerate(listed) if choice is not None]
    sizes = torch.tensor([len(groups[index]) for index in made])
    checked = iter(check_choices([listed[index] for index in made], sizes).tolist()) if made else iter(())
    return [None if choice is None else next(checked) for choice in listed]


def check_lengths(columns: Mapping[str, Sequence[Any]]) -> None:
    """Check that there is as much of everything.

    Raises:
        ValueError: If there is not.
    """
    lengths = [len(column) for column in columns.values()]
    if len(set(lengths)) > 1:
        names = " and ".join(f"`{name}`" for name in columns)
        raise ValueError(
            f"Arguments {names} must have the same length, but got {' and '.join(map(str, lengths))}."
        )


class Restorer:
    """Turns what was stored into what the metrics take: texts, paths and PIL images.

    Equal pixels come back as one object, so that a metric encodes them once.
    """

    def __init__(self) -> None:
        self._image = cache(_open_png)

    def __call__(self, item: Any) -> Any:
        """Return one text, path or image; a group is returned as a list of them, nothing as None."""
        if isinstance(item, list):
            return [self(member) for member in item]
        if item is None or isinstance(item, str):
            return item
        return same_file(item["path"]) if item["bytes"] is None else self._image(item["bytes"])


def _open_png(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def _listed(items: Any, argument: str) -> list[Any]:
    """The items of a list, an array of images or a dataset's column."""
    single = isinstance(items, str | os.PathLike | Mapping | Image.Image) or not isinstance(items, Iterable)
    if single or (isinstance(items, np.ndarray) and items.dtype != object and items.ndim in (2, 3)):
        raise ValueError(
            f"Argument `{argument}` must be a list of images or texts, but got {_type_name(items)}."
        )
    return list(items)


def _store_text(text: Any, argument: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"Argument `{argument}` must be a text (str), but got {_type_name(text)}.")
    return str(text)


def _store_image(image: Any, argument: str, files: NamedFiles) -> StoredImage:
    if isinstance(image, Mapping):
        if image.get("bytes") is not None:
            return {"bytes": _png(_open_bytes(image["bytes"], argument), argument), "path": None}
        image = image.get("path")
    if isinstance(image, str | os.PathLike):
        return {"bytes": None, "path": files.add(Path(image).absolute(), argument)}
    if isinstance(image, np.ndarray):
        image = _image_of_array(image, argument)
    if not isinstance(image, Image.Image):
        hint = ": pass `to_pil_image(tensor)` of torchvision" if isinstance(image, torch.Tensor) else ""
        raise TypeError(
            f"Argument `{argument}` must be a PIL image, a path or a uint8 array [H, W, C],"
            f" but got {_type_name(image)}{hint}."
        )
    return {"bytes": _png(image, argument), "path": None}


def _image_of_array(array: np.ndarray[Any, Any], argument: str) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8:
        hint = ": scale it to 0–255 and round" if array.dtype.kind == "f" else ""
        raise TypeError(
            f"Argument `{argument}` must hold uint8 pixels in 0–255, but got {array.dtype}{hint}."
        )
    if array.ndim not in (2, 3) or 0 in shape or (array.ndim == 3 and shape[2] not in _ARRAY_CHANNELS):
        hint = (
            "; channels come last: `array.transpose(1, 2, 0)`"
            if array.ndim == 3 and shape[0] in _ARRAY_CHANNELS
            else ""
        )
        raise ValueError(
            f"Argument `{argument}` must have shape [H, W] or [H, W, C] with 1, 3 or 4 channels,"
            f" but got {shape}{hint}."
        )
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and shape[2] == 1 else array)


def _open_bytes(data: bytes, argument: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except DECODING_ERRORS as error:
        raise unreadable(argument, error) from error


def _png(image: Image.Image, argument: str) -> bytes:
    """The image as the metrics see it (upright, RGB, on white), without loss."""
    list_images(image, argument)
    file = io.BytesIO()
    pil_to_rgb(image, argument).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
