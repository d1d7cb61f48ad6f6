"""The base of models that judge by the similarity of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from unisim_metrics.images import Images, Preprocessing, preprocess
from unisim_metrics.images.inputs import CheckedImage, collect_images
from unisim_metrics.models.answering import MAIN_VIEW, Way
from unisim_metrics.models.comparing import compare
from unisim_metrics.models.evaluation import evaluation_mode, own_precision
from unisim_metrics.models.hashing import hash_weights, weights_state
from unisim_metrics.models.texts import check_texts
from unisim_metrics.tasks import TASKS

if TYPE_CHECKING:
    from unisim_metrics.models.protocol import PerceptualModel
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task

__all__ = ["EncoderModel", "default_batch_size"]

# A CPU gains nothing beyond a few dozen, and loses where the maps of convolutions outgrow its cache.
_BATCH_ON_CPU = 32
_BATCH_OF_CONVOLUTIONS_ON_CPU = 8
_BATCH_ON_ACCELERATOR = 256


def default_batch_size(model: PerceptualModel) -> int:
    """Return how many items pass through a tower of a model at a time where the caller does not say."""
    if model.device.type != "cpu":
        return _BATCH_ON_ACCELERATOR
    return _BATCH_OF_CONVOLUTIONS_ON_CPU if _is_convolutional(model) else _BATCH_ON_CPU


class EncoderModel(nn.Module):
    """Two towers that embed images and texts in one space.

    A subclass says how a batch of pixels and a batch of tokens pass through its towers; this class prepares
    images and texts, keeps batches small, and guards evaluation mode and gradients. Images can have further spaces, for
    tasks that compare them with each other: these the subclass names in `views`.

    The backbone always runs in evaluation mode and, inside `torch.autocast` too, in its own precision. Gradients
    flow only from the embeddings to images that require them: parameters are never trained through this class.

    Args:
        backbone: The module that holds both towers.
        name: What the signature calls the model.
        preprocessing: How images are prepared.
        truncate: Whether texts longer than the context are cut (with one warning a process) or are an error.
    """

    embeds = True
    tasks: ClassVar[Mapping[Task, Way]] = dict.fromkeys(TASKS, "embeddings")
    keeps_type: ClassVar[bool] = False
    """Whether weights from a file are left in the type in which they were read, where the caller names none."""
    views: ClassVar[Mapping[Task, str]] = {}
    """The spaces of tasks whose images are not embedded in the main one."""

    def __init__(
        self, backbone: nn.Module, name: str, preprocessing: Preprocessing, truncate: bool = True
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.name = name
        self.preprocessing = preprocessing
        self.truncate = truncate
        self.training = False
        self._hash: tuple[object, str] | None = None

    # What a subclass says.

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images `[N, 3, S, S]` through the image tower: `[N, D]`, of any length."""
        raise NotImplementedError

    def encode_view(self, pixels: Tensor, view: str) -> Tensor:
        """Pass images prepared for a view of the model's own through the image tower: `[N, D]`, of any length."""
        raise NotImplementedError

    def preparation(self, view: str = MAIN_VIEW) -> Preprocessing | None:
        """How the images of a view are prepared; None for a model that prepares them in `prepare` in its own way."""
        return self.preprocessing

    def prepare(self, images: Images, view: str, dtype: torch.dtype) -> Tensor:
        """Prepare images for a view: what `encode_pixels` or `encode_view` takes, on the model's device."""
        settings = self.preparation(view)
        if settings is None:
            raise NotImplementedError
        return preprocess(images, settings, device=self.device, dtype=dtype)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Turn texts into the tensors that ``encode_tokens`` takes, each with `N` rows."""
        raise NotImplementedError

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is longer than the context, so that its end is cut."""
        raise NotImplementedError

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass tokens, of any device, through the text tower: `[N, D]`, of any length."""
        raise NotImplementedError

    def merged_weights(self) -> Mapping[str, Any]:
        """The weights that determine the embeddings, by name. Adapters are merged."""
        return self.backbone.state_dict()

    # What every model offers.

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((tensor.device for tensor in self._tensors()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return next((tensor.dtype for tensor in self._tensors() if tensor.is_floating_point()), torch.float32)

    @property
    def input_tag(self) -> str:
        """How images are prepared, for the signature: ``"224-bicubic"``."""
        return str(self.preprocessing)

    def weights_hash(self) -> str:
        """SHA-256, in hex, of the weights. Equal weights give equal hashes on every machine and device.

        It is computed once and again after a weight has changed.
        """
        state = weights_state(self.backbone)
        if self._hash is None or self._hash[0] != state:
            self._hash = (state, hash_weights(self.merged_weights()))
        return self._hash[1]

    def view_of(self, task: Task) -> str:
        """The space in which the images of a task are embedded."""
        return self.views.get(task, MAIN_VIEW)

    def embed_images(self, images: Images, batch_size: int | None = None, view: str = MAIN_VIEW) -> Tensor:
        """Embed images.

        Args:
            images: A PIL image, path, uint8 (0–255) or float (0–1) tensor `[C, H, W]` or `[N, C, H, W]`, array
                `[H, W, C]` or `[N, H, W, C]`, or a sequence of these of any sizes. An image that stands several
                times in a sequence is encoded once.
            batch_size: How many images pass through the tower at a time. It does not change the result.
            view: In which space; texts are embedded in `"main"`.

        Returns:
            Embeddings `[N, D]` of unit length, float32 (float64 for a model in float64), on the model's
            device. They carry a graph only if the images require gradients and gradients are enabled.

        Raises:
            ValueError: If an image is empty, out of range, or not an image, or the model has no such view.
            TypeError: If an input is of a type that holds no image.
        """
        if view not in (MAIN_VIEW, *self.views.values()):
            known = tuple(dict.fromkeys((MAIN_VIEW, *self.views.values())))
            raise ValueError(f"Argument `view` must be one of {known}, but got {view!r}.")
        items = collect_images(images, "images")  # the whole input is checked before anything is encoded
        unique, positions = _unique(items)
        size = self._batch_size(batch_size)
        parts = [self._embed_pixels(batch, view) for batch in _batches(unique, size)]
        embeddings = parts[0] if len(parts) == 1 else torch.cat(parts)
        if len(unique) == len(items):
            return embeddings
        # An item of the list may be a batch itself: its rows stay together.
        counts = [_rows(item) for item in unique]
        starts = [sum(counts[:index]) for index in range(len(counts))]
        rows = [starts[index] + row for index in positions for row in range(counts[index])]
        return embeddings[torch.tensor(rows, device=embeddings.device)]

    def embed_texts(self, texts: str | Sequence[str], batch_size: int | None = None) -> Tensor:
        """Embed texts. A text that stands several times is encoded once.

        Args:
            texts: A text or a sequence of texts.
            batch_size: How many texts pass through the tower at a time. It does not change the result.

        Returns:
            Embeddings `[N, D]` of unit length, float32 (float64 for a model in float64), on the model's
            device, without a graph.

        Raises:
            ValueError: If there is no text, or one is too long and the model was loaded with
                ``truncate=False``.
            TypeError: If something else than strings comes.
        """
        items = check_texts(texts)
        # Texts of like length share a pass, so that a long one does not lengthen all.
        unique = sorted(dict.fromkeys(items), key=len)
        size = self._batch_size(batch_size)
        with torch.no_grad(), own_precision(), evaluation_mode(self.backbone):
            tokens = self.tokenize(unique)
            parts = [
                self._normalize(
                    self.encode_tokens({key: value[start : start + size] for key, value in tokens.items()})
                )
                for start in range(0, len(unique), size)
            ]
        embeddings = torch.cat(parts)
        if unique == items:
            return embeddings
        rows = {text: row for row, text in enumerate(unique)}
        return embeddings[torch.tensor([rows[text] for text in items], device=embeddings.device)]

    def count_truncated(self, texts: str | Sequence[str]) -> int:
        """Count the texts that are longer than the model's context, of which only the beginning is read.

        It neither warns nor encodes; a text that stands several times counts each time.

        Args:
            texts: A text or a sequence of texts; an empty one has none.

        Raises:
            TypeError: If something else than strings comes.
        """
        if not isinstance(texts, str) and isinstance(texts, Sequence) and not texts:
            return 0
        items = check_texts(texts)
        unique = list(dict.fromkeys(items))
        is_long = dict(zip(unique, self.find_long_texts(unique), strict=True))
        return sum(is_long[text] for text in items)

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score `N` alternatives against each of `B` references.

        Args:
            references: The `B` references, images or texts; None for quality, attributes and odd-one-out.
            alternatives: For each reference its `N` alternatives.
            task: One of the tasks' names; inferred from what is passed if None.
            method: How quality and attributes are scored, ``"naive"`` or ``"clip-iqa"``.
            prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

        Returns:
            Scores `[B, N]`; higher is closer. NaN where a smaller group has no alternative. For ``"clip-iqa"`` they
            are differences of similarities, in the order of its probabilities and without their ties.

        Raises:
            ValueError: If the inputs do not fit together or do not tell the task.
            TypeError: If something is neither image nor text.
        """
        return compare(self, references, alternatives, task=task, method=method, prompts=prompts)

    def train(self, mode: bool = True) -> Self:
        """Keep evaluation mode, whatever ``mode``; a user's module that is shared keeps its own."""
        return self

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.backbone.parameters()
        yield from self.backbone.buffers()

    def _batch_size(self, batch_size: int | None) -> int:
        if batch_size is None:
            return default_batch_size(self)
        if batch_size < 1:
            raise ValueError(f"Argument `batch_size` must be at least 1, but got {batch_size}.")
        return batch_size

    def _embed_pixels(self, images: Images, view: str) -> Tensor:
        def encode(pixels: Tensor) -> Tensor:
            is_main = view == MAIN_VIEW
            return self._normalize(self.encode_pixels(pixels) if is_main else self.encode_view(pixels, view))

        return self._pass(images, view, encode)

    def _pass(self, images: Images, view: str, run: Callable[[Tensor], Tensor]) -> Tensor:
        """What `run` makes of prepared images, with a graph to those that require gradients, and to nothing else."""
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        with own_precision():
            pixels = self.prepare(images, view, dtype)
            graph = torch.is_grad_enabled() and pixels.requires_grad
            # Without gradients no weight can receive one.
            with torch.set_grad_enabled(graph), evaluation_mode(self.backbone, freeze=graph):
                return run(pixels.to(self.dtype))

    def _normalize(self, features: Tensor) -> Tensor:
        dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
        return F.normalize(features.to(dtype), dim=-1)


def _is_convolutional(model: PerceptualModel) -> bool:
    """Whether images pass more convolutions than the one that cuts them into the patches of a transformer."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    return sum(isinstance(module, nn.Conv2d) for module in modules) > 1


def _unique(items: Sequence[CheckedImage]) -> tuple[list[CheckedImage], list[int]]:
    """The items without those that stand again, and for each item its place among them."""
    places: dict[object, int] = {}
    unique: list[CheckedImage] = []
    positions: list[int] = []
    for item in items:
        key: object = item if isinstance(item, Path) else id(item)
        if key not in places:
            places[key] = len(unique)
            unique.append(item)
        positions.append(places[key])
    return unique, positions


def _rows(item: CheckedImage) -> int:
    return item.shape[0] if isinstance(item, Tensor) and item.ndim == 4 else 1


def _batches(items: Sequence[CheckedImage], size: int) -> Iterator[list[CheckedImage]]:
    """Cut a list whose items are images or batches of them into lists of at most ``size`` images."""
    batch: list[CheckedImage] = []
    room = size
    for item in items:
        pieces = torch.split(item, size) if isinstance(item, Tensor) and item.ndim == 4 else (item,)
        for piece in pieces:
            if _rows(piece) > room:
                yield batch
                batch, room = [], size
            batch.append(piece)
            room -= _rows(piece)
    yield batch
