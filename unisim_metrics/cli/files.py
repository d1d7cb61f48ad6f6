"""A model that takes files: each is read once, in threads, and one that cannot be read spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisim_metrics import functional
from unisim_metrics.errors import ImageReadError
from unisim_metrics.images import load_image
from unisim_metrics.images.threads import ahead
from unisim_metrics.models import EncoderModel, PerceptualModel
from unisim_metrics.models.answering import MAIN_VIEW, StandIn, check_answers, view_of
from unisim_metrics.models.comparing import embed
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task

_READERS = 2


class FileModel(StandIn):
    """A model over the embeddings of files, which `encode` makes; a `PerceptualModel` itself.

    A model that answers the task in another way is given the files that `encode` found readable.

    Args:
        model: The model that encodes.
        batch_size: How many items it encodes at a time.
        task: What will be asked.

    Raises:
        ValueError: If the model does not answer the task.

    Attributes:
        model: The model that encodes.
        unreadable: Why files could not be read, by file.
    """

    model: PerceptualModel

    def __init__(self, model: PerceptualModel, batch_size: int, task: Task = "image-text") -> None:
        super().__init__(model)
        self.batch_size = batch_size
        self.embeds = check_answers(model, task) == "embeddings"
        self.view = view_of(model, task)
        self.unreadable: dict[Path, str] = {}
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

    @torch.no_grad()
    def encode(
        self, items: Iterable[Path | str], advance: Callable[[int], object] = lambda count: None
    ) -> None:
        """Embed files (`Path`) and texts (`str`) that are not known yet, in batches.

        Args:
            items: Files and texts, any of them several times.
            advance: Is called with the number of files done, batch by batch.
        """
        new = [item for item in dict.fromkeys(items) if item not in self._images and item not in self._texts]
        texts = [item for item in new if isinstance(item, str)]
        self._seen.update(dict.fromkeys(texts))
        for start in range(0, len(texts) if self.embeds else 0, self.batch_size):
            part = texts[start : start + self.batch_size]
            self._texts.update(zip(part, self.model.embed_texts(part).cpu(), strict=True))
        for batch in self._read([item for item in new if isinstance(item, Path)]):
            images = {path: image for path, image in batch.items() if image is not None}
            if images and self.embeds:
                rows = embed(self.model, list(images.values()), "image", self.view).cpu()
                self._images.update(zip(images, rows, strict=True))
            advance(len(batch))

    def is_readable(self, *items: Path | str | None) -> bool:
        """Whether none of the items is a file that could not be read."""
        return self.unreadable.keys().isdisjoint(items)

    def count_cut(self) -> int | None:
        """Return how many of the texts that `encode` has seen were cut to the model's context.

        None for a generative model, which has room for any usual text.
        """
        if not isinstance(self.model, EncoderModel):
            return None
        return self.model.count_truncated(list(self._seen))

    def embed_images(self, images: Any, view: str = MAIN_VIEW) -> Tensor:
        """Look up the embeddings `[N, D]` of readable files that `encode` has seen, in the view of the task."""
        return torch.stack([self._images[path] for path in images])

    def embed_texts(self, texts: str | Sequence[str]) -> Tensor:
        """Embed texts `[N, D]`, those that `encode` has not seen as well."""
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

    def _read(self, paths: Sequence[Path]) -> Iterator[dict[Path, Tensor | None]]:
        """Decode files ahead of their use, batch by batch; None stands for one that could not be read."""
        batches = (paths[start : start + self.batch_size] for start in range(0, len(paths), self.batch_size))
        for batch, images in ahead(batches, _load_or_tell, _READERS):
            found = dict(zip(batch, images, strict=True))
            self.unreadable.update(
                {path: str(error) for path, error in found.items() if isinstance(error, Exception)}
            )
            yield {path: image if isinstance(image, Tensor) else None for path, image in found.items()}


def _load_or_tell(path: Path) -> Tensor | ImageReadError:
    try:
        return load_image(path)
    except ImageReadError as error:
        return error
