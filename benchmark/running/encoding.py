"""From what sets need to embeddings: each image and each text passes through the model once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from unisim_metrics.images.threads import ahead
from unisim_metrics.models.answering import MAIN_VIEW
from unisim_metrics.models.encoders.base import EncoderModel

from ..data.image_reading import ImageKey, ImageReader, ReadImage, image_key
from .processes import Processes

if TYPE_CHECKING:
    from unisim_metrics.models import PerceptualModel

    from ..datasets import Dataset
    from .embedding_cache import EmbeddingCache
    from .planning import PlannedSet

_T = TypeVar("_T")


def share_batches(items: Sequence[_T], size: int, processes: Processes) -> list[Sequence[_T]]:
    """Cut the items of a set into batches, and return those of this process.

    The cuts depend on the set alone, not on what is known already or on the number of processes: an item that is
    encoded has the same neighbours in any run.
    """
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    return batches[processes.rank :: processes.count]


@dataclass
class Encoded:
    """What was done for a set.

    Attributes:
        images: How many passed through the model.
        texts: Likewise.
        unreadable: Why images could not be read.
    """

    images: int = 0
    texts: int = 0
    unreadable: dict[ImageKey, str] = field(default_factory=dict)


@dataclass
class _Share(Encoded):
    """What one process has done for a set, on its way to the leader."""

    image_rows: dict[ImageKey, Tensor] = field(default_factory=dict)
    text_rows: dict[str, Tensor] = field(default_factory=dict)
    error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A row is a view: pickled by itself it would take its whole batch along.
        return self.__dict__ | {
            name: (list(rows), torch.stack(list(rows.values()))) if rows else None
            for name, rows in (("image_rows", self.image_rows), ("text_rows", self.text_rows))
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in ("image_rows", "text_rows"):
            self.__dict__[name] = dict(zip(*state[name], strict=True)) if state[name] else {}


class Encoder:
    """Embeds what sets need, one set after the other, and keeps what it has embedded.

    Args:
        model: The model.
        cache: Where embeddings outlive the process; None for nowhere.
        processes: Who shares the work. Only the leader has all embeddings in the end.
        workers: How many threads read images ahead; 0 for none.
        batch_size: How many items pass through the model at a time.
        view: In which of the model's spaces images are embedded.
    """

    def __init__(
        self,
        model: PerceptualModel,
        cache: EmbeddingCache | None,
        processes: Processes,
        workers: int,
        batch_size: int,
        view: str = MAIN_VIEW,
    ) -> None:
        self.model = model
        self.view = view
        self.cache = cache
        self.processes = processes
        self.workers = workers
        self.batch_size = batch_size
        self._known: dict[bytes, Tensor] = {} if cache is None else cache.load()
        # By what stands in the samples, of all processes for the leader and of itself for another.
        self._images: dict[ImageKey, Tensor] = {}
        self._texts: dict[str, Tensor] = {}
        self._unreadable: dict[ImageKey, str] = {}
        # What no set that follows needs to ask for, on any process.
        self._done: set[ImageKey | str] = set()
        encoder = model if isinstance(model, EncoderModel) else None
        self._reader = ImageReader(encoder.preparation(view) if encoder else None, self._known)
        # An encoder of this package would cut a large batch once more.
        self._settings: dict[str, Any] = {"batch_size": batch_size} if encoder else {}

    def count(self, plans: Iterable[PlannedSet]) -> int:
        """Return how many images and texts of sets to come this process will go through."""
        seen = set(self._done)
        total = 0
        for planned in plans:
            for items in (planned.images, planned.texts):
                batches = share_batches(items, self.batch_size, self.processes)
                total += sum(item not in seen for batch in batches for item in batch)
            seen.update(planned.images, planned.texts)
        return total

    def encode(self, planned: PlannedSet, advance: Callable[[int], object]) -> Encoded:
        """Embed what a set needs and is not embedded yet.

        Args:
            planned: The set.
            advance: Is called with numbers of items that are done.

        Raises:
            ValueError: If the model takes one of the items for wrong, a text too long for it for example.
        """
        share = _Share()
        try:
            self._encode_texts(planned, share, advance)
            self._encode_images(planned, share, advance)
        except (ValueError, OSError) as error:
            share.error = error
        # Only whole shares are exchanged, so that no process waits for another that has failed.
        shares = self.processes.collect(share if share.error is None else _Share(error=share.error))
        for other in shares:
            if other.error is not None:
                raise other.error
        self._done.update(planned.images, planned.texts)
        for other in shares if self.processes.is_leader else [share]:
            self._images.update(other.image_rows)
            self._texts.update(other.text_rows)
            self._unreadable.update(other.unreadable)
        return Encoded(
            sum(other.images for other in shares),
            sum(other.texts for other in shares),
            {key: self._unreadable[key] for key in planned.images if key in self._unreadable},
        )

    def embeddings(self, dataset: Dataset) -> SetEmbeddings:
        """Return the embeddings of a set that was encoded."""
        return SetEmbeddings(dataset, self._images, self._texts)

    def _encode_texts(self, planned: PlannedSet, share: _Share, advance: Callable[[int], object]) -> None:
        for batch in share_batches(planned.texts, self.batch_size, self.processes):
            digests = {text: hashlib.sha256(b"text\0" + text.encode()).digest() for text in self._new(batch)}
            missing = [text for text, digest in digests.items() if digest not in self._known]
            if missing:
                with torch.no_grad():
                    rows = self.model.embed_texts(missing, **self._settings).cpu()
                self._keep([digests[text] for text in missing], rows)
                share.texts += len(missing)
            share.text_rows.update((text, self._known[digest]) for text, digest in digests.items())
            advance(len(digests))

    def _encode_images(self, planned: PlannedSet, share: _Share, advance: Callable[[int], object]) -> None:
        batches = map(self._new, share_batches(planned.images, self.batch_size, self.processes))
        read = partial(self._reader.read, dataset=planned.dataset)
        for batch, images in ahead(filter(None, batches), read, self.workers):
            missing: dict[bytes, Tensor] = {}
            for key, image in zip(batch, images, strict=True):
                if image.digest is None:
                    share.unreadable[key] = image.error or ""
                # Files of the same content are encoded once, too: in this batch, or in one since this was read.
                elif image.digest not in self._known and image.pixels is not None:
                    missing.setdefault(image.digest, image.pixels)
            if missing:
                self._keep(list(missing), self._embed(list(missing.values())))
                share.images += len(missing)
            share.image_rows.update(self._rows(batch, images))
            advance(len(batch))

    def _embed(self, pixels: list[Tensor]) -> Tensor:
        # One transfer to the device, and no search for images that stand twice.
        images = torch.stack(pixels) if len({tuple(image.shape) for image in pixels}) == 1 else pixels
        with torch.no_grad():
            view = {} if self.view == MAIN_VIEW else {"view": self.view}
            return self.model.embed_images(images, **self._settings, **view).cpu()

    def _keep(self, digests: list[bytes], rows: Tensor) -> None:
        self._known.update(zip(digests, rows, strict=True))
        if self.cache is not None:
            self.cache.store(digests, rows)

    def _rows(
        self, batch: Sequence[ImageKey], images: Sequence[ReadImage]
    ) -> Iterator[tuple[ImageKey, Tensor]]:
        for key, image in zip(batch, images, strict=True):
            if image.digest is not None:
                yield key, self._known[image.digest]

    def _new(self, batch: Sequence[_T]) -> list[_T]:
        return [item for item in batch if item not in self._done]


class SetEmbeddings:
    """The embeddings of a set, by what stands in its samples: what `functional.compare` asks for them.

    Args:
        dataset: The set.
        images: The embedding `[D]` of each image.
        texts: The embedding `[D]` of each text.
    """

    def __init__(
        self, dataset: Dataset, images: Mapping[ImageKey, Tensor], texts: Mapping[str, Tensor]
    ) -> None:
        self._dataset = dataset
        self._images = images
        self._texts = texts

    def embed_images(self, images: Any) -> Tensor:
        """Look up the embeddings `[N, D]` of images that could be read."""
        return torch.stack([self._images[image_key(self._dataset, path)] for path in images])

    def embed_texts(self, texts: Any) -> Tensor:
        """Look up the embeddings `[N, D]` of texts."""
        return torch.stack([self._texts[text] for text in texts])
