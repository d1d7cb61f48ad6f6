"""A model that takes files: each is read once, in threads, and one that cannot be read spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from unisim_metrics import functional
from unisim_metrics.collections.cells import Unreadable, read_image
from unisim_metrics.images.threads import ahead, usable_cores
from unisim_metrics.models import EncoderModel, PerceptualModel
from unisim_metrics.models.answering import MAIN_VIEW, StandIn, check_answers, view_of
from unisim_metrics.models.comparing import embed
from unisim_metrics.models.encoders.base import default_batch_size
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task

_Item = TypeVar("_Item")

# A model that takes fewer at a time cuts them itself.
_FILES_AT_LEAST = 32


class FileModel(StandIn):
    """A model over the embeddings of files, which `stream` or `encode` makes; a `PerceptualModel` itself.

    A model that answers the task in another way is given the files that were found readable.

    Args:
        model: The model that encodes.
        batch_size: How many items it encodes at a time; 32 on a CPU and for images that the model prepares itself, 256
            elsewhere, if None.
        task: What will be asked.

    Raises:
        ValueError: If the model does not answer the task.

    Attributes:
        model: The model that encodes.
        unreadable: Why files could not be read, by file.
    """

    model: PerceptualModel

    def __init__(
        self, model: PerceptualModel, batch_size: int | None = None, task: Task = "image-text"
    ) -> None:
        super().__init__(model)
        self.embeds = check_answers(model, task) == "embeddings"
        self.view = view_of(model, task)
        self.unreadable: dict[Path, str] = {}
        self._preparation = (
            model.preparation(self.view) if self.embeds and isinstance(model, EncoderModel) else None
        )
        whole = self._preparation is None
        self.batch_size = batch_size or (
            _FILES_AT_LEAST if whole else max(_FILES_AT_LEAST, default_batch_size(model))
        )
        self._images: dict[Path, Tensor] = {}
        self._texts: dict[str, Tensor] = {}
        self._seen: dict[str, None] = {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def input_tag(self) -> str:
        """How images are prepared, for the signature."""
        return self.model.input_tag

    def weights_hash(self) -> str:
        """SHA-256, in hex, of the weights."""
        return self.model.weights_hash()

    def to(self, device: torch.device | str) -> FileModel:
        """Move the weights and return the model itself."""
        self.model.to(device)
        return self

    def encode(
        self, items: Iterable[Path | str], advance: Callable[[int], object] = lambda count: None
    ) -> None:
        """Embed files (`Path`) and texts (`str`) that are not known yet, in batches, and keep what comes of them.

        Args:
            items: Files and texts, any of them several times.
            advance: Is called with the number of files done, batch by batch.
        """
        new = [item for item in dict.fromkeys(items) if item not in self._images and item not in self._texts]
        for arriving in (self._embed_texts(new), self._embed_files(new, advance)):
            for _ in arriving:
                pass

    def stream(
        self,
        groups: Sequence[Sequence[Path | str]],
        advance: Callable[[int], object] = lambda count: None,
    ) -> Iterator[range]:
        """Embed the items of groups in batches, and yield which groups are ready, run by run.

        Each item is embedded once, for all groups that have it, and forgotten when the run of the last of them is done:
        memory holds what is still to be used and not what was. Files are decoded in threads while the batch before
        them passes through the model. Where the model does not embed, files are only tried, and all groups are one run.

        Args:
            groups: What is asked about together: files and texts, any of them in several groups.
            advance: Is called with the number of files done, batch by batch.

        Yields:
            Places of groups that follow each other, until the next are asked for.
        """
        last = {item: place for place, group in enumerate(groups) for item in group}
        texts, files = self._embed_texts(last), self._embed_files(last, advance)
        missing = set(last)
        start = 0
        for place, group in enumerate(groups):
            for item in group:
                if item not in missing:
                    continue
                if self.embeds and start < place:
                    yield range(start, place)
                    self._forget(groups[start:place], last, place)
                    start = place
                # Items arrive in the order in which they are needed first.
                while item in missing:
                    missing.difference_update(next(texts) if isinstance(item, str) else next(files))
        if start < len(groups):
            yield range(start, len(groups))
            self._forget(groups[start:], last, len(groups))

    def is_readable(self, *items: Path | str | None) -> bool:
        """Whether none of the items is a file that could not be read."""
        return self.unreadable.keys().isdisjoint(items)

    def count_cut(self) -> int | None:
        """Return how many of the texts that were seen were cut to the model's context.

        None for a generative model, which has room for any usual text.
        """
        if not isinstance(self.model, EncoderModel):
            return None
        return sum(map(self.model.count_truncated, self._cut(list(self._seen))))

    def embed_images(self, images: Any, view: str = MAIN_VIEW) -> Tensor:
        """Look up the embeddings `[N, D]` of readable files that are known, in the view of the task."""
        return torch.stack([self._images[path] for path in images])

    def embed_texts(self, texts: str | Sequence[str]) -> Tensor:
        """Embed texts `[N, D]`, those that are not known as well."""
        texts = [texts] if isinstance(texts, str) else texts
        self.encode(texts)
        return torch.stack([self._texts[text] for text in texts])

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score `N` alternatives against each of `B` references, `[B, N]`."""
        if not self.embeds:
            return super().compare(references, alternatives, task, method, prompts)
        return functional.compare(self, references, alternatives, task, method, prompts)

    def _embed_texts(self, items: Collection[Path | str]) -> Iterator[Sequence[str]]:
        """Embed the texts among items batch by batch, and tell which are known now."""
        texts = [item for item in items if isinstance(item, str)]
        self._seen.update(dict.fromkeys(texts))
        for part in self._cut(texts):
            if self.embeds:
                with torch.no_grad():
                    rows = self.model.embed_texts(part).cpu()
                self._texts.update(_by_item(part, rows))
            yield part

    def _embed_files(
        self, items: Collection[Path | str], advance: Callable[[int], object]
    ) -> Iterator[Sequence[Path]]:
        """Read and embed the files among items batch by batch, and tell which are known, or unreadable, now."""
        paths = [item for item in items if isinstance(item, Path)]
        for batch, images in ahead(self._cut(paths), self._read, usable_cores()):
            found = dict(zip(batch, images, strict=True))
            self.unreadable.update(
                {path: image.reason for path, image in found.items() if isinstance(image, Unreadable)}
            )
            readable = {path: image for path, image in found.items() if not isinstance(image, Unreadable)}
            if readable and self.embeds:
                with torch.no_grad():
                    rows = embed(self.model, list(readable.values()), "image", self.view).cpu()
                self._images.update(_by_item(readable, rows))
            advance(len(batch))
            yield batch

    def _read(self, path: Path) -> Any:
        return read_image(path, "image", self._preparation)

    def _forget(
        self, groups: Sequence[Sequence[Path | str]], last: dict[Path | str, int], place: int
    ) -> None:
        """Drop the embeddings of items of groups that none from a place on has."""
        for item in {item for group in groups for item in group if last[item] < place}:
            known: dict[Any, Tensor] = self._texts if isinstance(item, str) else self._images
            known.pop(item, None)

    def _cut(self, items: Sequence[Any]) -> Iterator[Sequence[Any]]:
        return (items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size))


def _by_item(items: Iterable[_Item], rows: Tensor) -> dict[_Item, Tensor]:
    """The row of each item, in memory of its own: a view of one would hold all."""
    return {item: row.clone() for item, row in zip(items, rows, strict=True)}
