"""What the wrappers of torchmetrics ask for.

`FeatureShare` wants an encoder as a module, and its inputs as keys of a cache: what an image or a text holds, in a few
bytes that can be compared. `BootStrapper` draws the rows of tensors and leaves all else in order.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchmetrics.wrappers import BootStrapper

from unisim_metrics.images.decoding import pil_to_rgb, unreadable
from unisim_metrics.models import PerceptualModel
from unisim_metrics.models.answering import MAIN_VIEW, StandIn
from unisim_metrics.models.comparing import embed
from unisim_metrics.tasks import Modality


class Hidden(list[nn.Module]):
    """A list that keeps modules out of the module tree; a copy shares them, a pickle drops them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Hidden:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Hidden, ())


class FeatureKey:
    """Images or texts as the key of a cache: equal where their contents are, whatever objects hold them.

    Pixels can change in an object that stays the same (a picture drawn on, a buffer refilled, a file written
    anew), and often without a trace; so the key is made of the bytes themselves, anew at every use.
    """

    def __init__(self, items: Any, modality: Modality, model: PerceptualModel, view: str = MAIN_VIEW) -> None:
        self.modality = modality
        self.view = view
        self._items = items
        # The model's weights may be trained between two updates, and it may move to another device.
        state = (modality, view, model.weights_hash(), model.input_tag, str(model.device))
        listed = items if isinstance(items, list | tuple) else (items,)
        self._mark: Hashable = (state, *(content_of(item, modality) for item in listed))

    def __hash__(self) -> int:
        return hash(self._mark)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureKey) and self._mark == other._mark

    def take(self) -> Any:
        """The items, once: the cache keeps the key, and shall not keep the pixels with it."""
        items, self._items = self._items, None
        return items


class FeatureNetwork(nn.Module):
    """A model's two `embed_` methods behind one `forward`, without the model in the module tree."""

    def __init__(self, model: PerceptualModel) -> None:
        super().__init__()
        self._model = Hidden([cast(nn.Module, model)])
        self.identity = f"{model.name}@{model.weights_hash()[:12]} {model.input_tag}"

    def forward(self, key: FeatureKey) -> Tensor:
        """Embed the items of `key`."""
        return embed(self._model[0], key.take(), key.modality, key.view)

    def extra_repr(self) -> str:
        """The model's name, weights and input: what `FeatureShare` compares."""
        return self.identity


class EmbedOnce(StandIn):
    """Embeds every object once in each view, for as long as nobody writes to it: within one call.

    Args:
        model: What embeds.
    """

    def __init__(self, model: PerceptualModel) -> None:
        super().__init__(model)
        self._known: dict[tuple[Modality, str, tuple[int, ...]], tuple[Any, Tensor]] = {}

    def embed_images(self, images: Any, view: str = MAIN_VIEW) -> Tensor:
        """Embed images, `[N, D]`."""
        return self._embed(images, "image", view)

    def embed_texts(self, texts: Any) -> Tensor:
        """Embed texts, `[N, D]`."""
        return self._embed(texts, "text")

    def _embed(self, items: Any, modality: Modality, view: str = MAIN_VIEW) -> Tensor:
        listed = tuple(items) if isinstance(items, list | tuple) else (items,)
        key = modality, view, tuple(id(item) for item in listed)
        if key not in self._known:
            # An image may stand beside several references, and a reference beside several images.
            distinct = {id(item): item for item in listed}
            is_batched = any(getattr(item, "ndim", 0) == 4 for item in listed)
            if len(distinct) < len(listed) and not is_batched:
                rows = {number: row for row, number in enumerate(distinct)}
                embeddings = embed(self.model, list(distinct.values()), modality, view)
                embeddings = embeddings[[rows[id(item)] for item in listed]]
            else:
                embeddings = embed(self.model, items, modality, view)
            # The items are kept, so that no other object gets the id of one.
            self._known[key] = listed, embeddings
        return self._known[key][1]


class SharedEmbedder(StandIn):
    """Embeds through the network that `FeatureShare` put in the model's place."""

    def __init__(self, network: nn.Module, model: PerceptualModel) -> None:
        super().__init__(model)
        self.network = network

    def embed_images(self, images: Any, view: str = MAIN_VIEW) -> Tensor:
        """Embed images, `[N, D]`."""
        return cast(Tensor, self.network(FeatureKey(images, "image", self.model, view)))

    def embed_texts(self, texts: Any) -> Tensor:
        """Embed texts, `[N, D]`."""
        return cast(Tensor, self.network(FeatureKey(texts, "text", self.model)))


def content_of(item: Any, modality: Modality) -> tuple[str, ...]:
    """Return what tells the content of one item, or of a batch in a tensor: equal where all pixels or letters are.

    Args:
        item: A text, or an image of any kind.
        modality: Which of the two it is: a `str` may be a text or a path.

    Raises:
        ImageReadError: If an image cannot be read.
        ValueError: If an image is of a kind that cannot be scored.
    """
    if modality == "text":
        return ("text", str(item))
    if isinstance(item, str | os.PathLike):
        return ("file", hash_file(item))
    if isinstance(item, Image.Image):
        return ("image", *_hash_pixels(_pixels(item)))
    if isinstance(item, Tensor):
        # NumPy knows no bfloat16: bytes do for all types.
        flat = item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return ("tensor", str(item.dtype), str(tuple(item.shape)), *_hash_pixels(flat))
    array = np.ascontiguousarray(item)
    return ("array", str(array.dtype), *_hash_pixels(array))


def hash_file(path: str | os.PathLike[str]) -> str:
    """SHA-256, in hex, of a file.

    Raises:
        ImageReadError: If it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def _pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    """The pixels as a model gets them: upright, RGB, on white."""
    try:
        return np.asarray(pil_to_rgb(image))
    except OSError as error:
        raise unreadable(getattr(image, "filename", "") or "<Pillow image>", error) from error


def _hash_pixels(array: np.ndarray[Any, Any]) -> tuple[str, str]:
    return str(array.shape), hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def check_resampled(inputs: Mapping[str, Any]) -> None:
    """Refuse inputs of which `BootStrapper` has drawn some anew and left others, so that pairs no longer match.

    Neither lengths nor values tell: a draw may be as long as the batch, and any list may belong to it. So this
    looks who calls.

    Args:
        inputs: The arguments of `update` by name.

    Raises:
        ValueError: If a `BootStrapper` calls, and an input is not a tensor.
    """
    odd = [name for name, value in inputs.items() if value is not None and not isinstance(value, Tensor)]
    if odd and _is_bootstrapped():
        raise ValueError(
            f"Argument `{odd[0]}` must be a tensor inside a `BootStrapper`, which resamples tensors and leaves lists,"
            f" prompts among them, in their order, but got {type(inputs[odd[0]]).__name__}. For intervals of such"
            ' scores resample the scores themselves: `UniSimScore(reduction="none")` and `scipy.stats.bootstrap`.'
        )


def _is_bootstrapped() -> bool:
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code is BootStrapper.update.__code__:
            return True
        frame = frame.f_back
    return False
