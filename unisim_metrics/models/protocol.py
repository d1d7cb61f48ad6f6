"""What every perceptual model offers; the rest of the library is written against this alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import Self

if TYPE_CHECKING:
    from unisim_metrics.images import Images
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task


@runtime_checkable
class PerceptualModel(Protocol):
    """A model that judges how close images and texts are.

    These members every model has. One that answers some tasks only, or in other ways than by embeddings in one space,
    says so by further ones, which `unisim_metrics.models.answering` asks for:

    - `tasks`, a mapping from each task that it answers to its way, `"embeddings"`, `"scores"` or `"choices"`, or to
      several: it compares in the first of them, and scores a prediction alone in the first that can;
    - `view_of(task)`, the name of the space in which it embeds the images of a task, if it has several; by that name
      `embed_images(images, view=...)` is then called;
    - `score(preds, target, task, method, prompts)`, the scores `[N]` of tasks that it answers by scores;
    - `tag_of(way)`, what its `input_tag` is where it answers in a way, if it asks differently by way.

    A model without `tasks` answers all: by embeddings if it `embeds`, else by choices.

    Attributes:
        name: What the signature calls the model: a registry name, a Hub id, the name of a directory or class.
        embeds: Whether it embeds images and texts.
    """

    name: str
    embeds: bool

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def input_tag(self) -> str:
        """How images are prepared, for the signature: ``"224-bicubic"``."""
        ...

    def weights_hash(self) -> str:
        """SHA-256, in hex, of the weights. Equal weights give equal hashes on every machine and device."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move the weights and return the model itself."""
        ...

    def embed_images(self, images: Images) -> Tensor:
        """Embed images as vectors `[N, D]` of unit length."""
        ...

    def embed_texts(self, texts: str | Sequence[str]) -> Tensor:
        """Embed texts as vectors `[N, D]` of unit length."""
        ...

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score `N` alternatives against each of `B` references: `[B, N]`, higher is closer."""
        ...
