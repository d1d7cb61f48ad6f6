"""What models that only compare have in common: like generative ones, they embed nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self


class OnlyCompares:
    """A model that embeds nothing; a test's own says how it compares."""

    name = "chooser"
    embeds = False
    device = torch.device("cpu")
    input_tag = "any"

    def weights_hash(self) -> str:
        return 64 * "0"

    def to(self, device: torch.device | str) -> Self:
        return self

    def embed_images(self, images: Any) -> Tensor:
        raise NotImplementedError(f"{self.name} has no embeddings")

    def embed_texts(self, texts: Any) -> Tensor:
        raise NotImplementedError(f"{self.name} has no embeddings")
