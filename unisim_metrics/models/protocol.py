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

    Attributes:
        name: What the signature calls the model: a registry name, a Hub id, the name of a directory or class.
        embeds: Whether it answers from embeddings, which can be kept; a generative model only compares.
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
