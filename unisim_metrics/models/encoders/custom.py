"""A user's own module as a perceptual model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.base import EncoderModel
from unisim_metrics.models.encoders.cut_texts import find_cut_texts

__all__ = ["CustomEncoder"]


class CustomEncoder(EncoderModel):
    """An encoder over any module with ``encode_image`` and ``encode_text``.

    Args:
        backbone: The module. ``encode_image(pixels)`` takes `[N, 3, S, S]`, ``encode_text(tokens)`` what the
            tokenizer gives (a mapping is passed as keyword arguments); both return `[N, D]`.
        tokenizer: A callable from a list of texts to a tensor with one row a text, or to a mapping of such
            tensors. How texts too long for the model are treated is its own affair.
        name: What the signature calls the model; the class's name by default.
        preprocessing: How images are prepared.

    Raises:
        TypeError: If the module lacks one of the two methods.
        ValueError: If ``preprocessing`` or ``tokenizer`` is missing.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Callable[[list[str]], Tensor | Mapping[str, Tensor]] | None = None,
        name: str | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        kind = type(backbone).__name__
        missing = [
            name for name in ("encode_image", "encode_text") if not callable(getattr(backbone, name, None))
        ]
        if missing:
            raise TypeError(
                "Argument `name_or_path_or_module` must be a module with the methods `encode_image` and"
                f" `encode_text`, but got {kind} without {' and '.join(f'`{name}`' for name in missing)}."
            )
        if preprocessing is None:
            raise ValueError(
                f"Argument `preprocessing` must be given for a module of class {kind}, which does not tell"
                " how its images are prepared: pass `unisim_metrics.images.Preprocessing(size=..., mean=...,"
                " std=...)`."
            )
        if tokenizer is None:
            raise ValueError(
                f"Argument `tokenizer` must be given for a module of class {kind}: pass a callable that"
                " turns a list of texts into the tensor that `encode_text` takes."
            )
        super().__init__(backbone, name or kind, preprocessing)
        self.tokenizer = tokenizer

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images `[N, 3, S, S]` through ``encode_image``: `[N, D]`, of any length."""
        features: Tensor = self.backbone.encode_image(pixels)  # type: ignore[operator]
        return features

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the user's tokenizer gives; a single tensor is kept under an empty name."""
        tokens = self.tokenizer(list(texts))
        return {"": tokens} if isinstance(tokens, Tensor) else dict(tokens)

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether the user's tokenizer drops its end, as far as that shows in what it gives."""
        return find_cut_texts(self.tokenizer, texts)

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass tokens through ``encode_text``: `[N, D]`, of any length."""
        encode_text: Any = self.backbone.encode_text
        tokens = {key: value.to(self.device) for key, value in tokens.items()}
        features: Tensor = encode_text(tokens[""]) if "" in tokens else encode_text(**tokens)
        return features
