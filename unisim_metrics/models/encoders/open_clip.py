"""Models of open_clip, SigLIP among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.base import EncoderModel
from unisim_metrics.models.encoders.cut_texts import find_cut_texts
from unisim_metrics.models.texts import handle_long_texts

__all__ = ["OpenCLIPEncoder", "is_open_clip"]


class OpenCLIPEncoder(EncoderModel):
    """An encoder over a model of open_clip.

    Texts are cut to the longest of their batch where the text tower is causal and pools at the end of the
    text, as CLIP's does; there it is exact. Other towers, SigLIP's among them, always see the whole context.

    Args:
        backbone: ``open_clip.CLIP``, ``CustomTextCLIP`` or ``CoCa``.
        tokenizer: The tokenizer of open_clip that belongs to it.
        name: What the signature calls the model.
        preprocessing: How images are prepared.
        truncate: Whether texts longer than the context are cut (with one warning a process) or are an error.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Any,
        name: str,
        preprocessing: Preprocessing,
        truncate: bool = True,
    ) -> None:
        super().__init__(backbone, name, preprocessing, truncate)
        self.tokenizer = tokenizer

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Pass prepared images `[N, 3, S, S]` through the image tower: `[N, D]`, of any length."""
        features: Tensor = self.backbone.encode_image(pixels)  # type: ignore[operator]
        return features

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids `[N, L]`, padded to the context as the tokenizer does."""
        ids: Tensor = self.tokenizer(list(texts))
        long_texts = [texts[row] for row in self._long_rows(texts, ids)]
        handle_long_texts(long_texts, ids.shape[1], self.truncate)
        return {"text": ids}

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is longer than the context, so that its end is cut."""
        if not _is_own_tokenizer(self.tokenizer):
            return find_cut_texts(self.tokenizer, texts)
        rows = self._long_rows(texts, self.tokenizer(list(texts)))
        return [row in rows for row in range(len(texts))]

    def _long_rows(self, texts: Sequence[str], ids: Tensor) -> set[int]:
        """Which texts do not fit, given their tokens."""
        end, padding = _end_and_padding(self.tokenizer)
        full: list[int] = _takes_every_column(ids, end, padding).nonzero().flatten().tolist()
        if not full:
            return set()
        longer: Tensor = self.tokenizer([texts[row] for row in full], context_length=ids.shape[1] + 1)
        too_long = _takes_every_column(longer, end, padding).tolist()
        return {row for row, over in zip(full, too_long, strict=True) if over}

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass token ids `[N, L]` through the text tower: `[N, D]`, of any length."""
        ids = tokens["text"]
        if _can_trim(self.backbone):
            return _encode_trimmed(self.backbone, ids, self.device)
        features: Tensor = self.backbone.encode_text(ids.to(self.device))  # type: ignore[operator]
        return features


def is_open_clip(module: nn.Module) -> bool:
    """Whether ``module`` is a model of open_clip; open_clip is not imported to find out."""
    return any(kind.__module__.split(".")[0] == "open_clip" for kind in type(module).__mro__)


def _is_own_tokenizer(tokenizer: Any) -> bool:
    """Whether open_clip made the tokenizer; others say neither their end token nor take a context length."""
    return type(tokenizer).__module__.split(".")[0] == "open_clip"


def _end_and_padding(tokenizer: Any) -> tuple[int | None, int]:
    """The token that ends a text, and the one that follows it up to the context."""
    if not _is_own_tokenizer(tokenizer):
        return None, 0
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is None:
        return getattr(tokenizer, "eot_token_id", None), 0
    end = inner.eos_token_id if inner.eos_token_id is not None else inner.sep_token_id
    return end, inner.pad_token_id


def _takes_every_column(ids: Tensor, end: int | None, padding: int) -> Tensor:
    """For each row whether its text, cut or not, leaves no room for padding."""
    if end is None:
        return torch.zeros(len(ids), dtype=torch.bool)
    # SigLIP pads with the end token: there only the column before tells.
    return ids[:, -1] == end if end != padding else ids[:, -2] != end


def _can_trim(model: Any) -> bool:
    """Whether the text tower is CLIP's own: causal, pooled at the text's end."""
    return (
        hasattr(model, "transformer")
        and hasattr(model, "token_embedding")
        and getattr(model, "attn_mask", None) is not None
        and getattr(model, "text_pool_type", None) in ("argmax", "eos")
    )


def _encode_trimmed(model: Any, ids: Tensor, device: torch.device) -> Tensor:
    """What ``open_clip.CLIP.encode_text`` computes, on the columns that matter.

    That method adds position embeddings and mask of the whole context, so it cannot be given fewer columns.
    """
    marks = ids if model.text_pool_type == "argmax" else (ids == model.text_eos_id).int()
    ends = marks.argmax(dim=-1)
    length = int(ends.max()) + 1
    ids = ids[:, :length].to(device)
    dtype = model.transformer.get_cast_dtype()
    hidden = model.token_embedding(ids).to(dtype) + model.positional_embedding[:length].to(dtype)
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    pooled = model.ln_final(hidden)[torch.arange(len(ids), device=device), ends.to(device)]
    projection = model.text_projection
    features: Tensor
    if projection is None:
        features = pooled
    else:
        features = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
    return features
