"""CLIP models of transformers, and others whose texts pass CLIP's text tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.known_characters import KnownCharacters
from unisim_metrics.models.encoders.transformers import TransformersEncoder
from unisim_metrics.models.texts import (
    CLIP_VOCABULARY,
    fix_text,
    handle_long_texts,
    handle_unknown_characters,
)

__all__ = ["CLIPEncoder"]

# Configurations written before transformers 4.31 say 2 and mean "the highest token of the text".
_LEGACY_END_TOKEN = 2


class CLIPEncoder(TransformersEncoder):
    """An encoder over ``transformers.CLIPModel`` or a ``peft.PeftModel`` of one.

    A ``VisionTextDualEncoderModel`` serves as well, if its text tower is CLIP's; for others there is ``DualEncoder``.

    Texts are cut to the longest of their batch before the text tower, which is exact: its attention is
    causal, so what follows the end of a text cannot reach the token that is pooled. For the same reason no mask is
    needed.

    With CLIP's own vocabulary texts first pass ``ftfy``, as in CLIP's own tokenizer: curly quotes become straight,
    ligatures letters, ``&amp;`` an ampersand. Characters that another vocabulary lacks are spelt plainly or left out,
    with one warning a process, where they would end the text.

    Args:
        backbone: The model. An adapter stays an adapter; ``load_model`` merges what it loads itself.
        tokenizer: The tokenizer of transformers that belongs to it.
        name: What the signature calls the model.
        preprocessing: How images are prepared. Where the image tower takes one size alone, ``preprocessing.size`` must
            be that.
        truncate: Whether texts longer than the context are cut (with one warning a process) or are an error; the same
            of texts with characters that the vocabulary lacks.

    Raises:
        ValueError: If the tokenizer or the preprocessing does not fit the model.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tokenizer: Any,
        name: str,
        preprocessing: Preprocessing,
        truncate: bool = True,
    ) -> None:
        super().__init__(backbone, tokenizer, name, preprocessing, truncate)
        config: Any = backbone.config
        # As the tokenizer that comes with CLIP does; models with another vocabulary were trained without.
        self.fixes_texts = len(tokenizer) == CLIP_VOCABULARY
        self.context = int(config.text_config.max_position_embeddings)
        end = config.text_config.eos_token_id
        if end not in (_LEGACY_END_TOKEN, tokenizer.eos_token_id):
            raise ValueError(
                f"Argument `tokenizer` must end a text by the model's token {end}, but got"
                f" {tokenizer.eos_token_id}: the model would pool every text at its start."
            )

    @property
    def input_tag(self) -> str:
        """How images and texts are prepared, for the signature: ``"224-bicubic-ftfy"``."""
        return f"{self.preprocessing}-ftfy" if self.fixes_texts else str(self.preprocessing)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids `[N, L]`, padded by the end token. No mask is needed: attention is causal."""
        rows, lacking = self._token_rows(texts)
        handle_unknown_characters(lacking, len(texts), self.truncate)
        handle_long_texts(
            [text for text, row in zip(texts, rows, strict=True) if len(row) > self.context],
            self.context,
            self.truncate,
        )
        rows = [row if len(row) <= self.context else [*row[: self.context - 1], row[-1]] for row in rows]
        length = max(len(row) for row in rows)
        return {"input_ids": torch.tensor([row + [row[-1]] * (length - len(row)) for row in rows])}

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is longer than the context, so that its end is cut."""
        return [len(row) > self.context for row in self._token_rows(texts)[0]]

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass token ids `[N, L]` through the text tower: `[N, D]`, of any length."""
        ids = _trim(tokens["input_ids"]).to(self.device)
        return self.encode_inputs(input_ids=ids)

    def _token_rows(self, texts: Sequence[str]) -> tuple[list[list[int]], dict[str, str]]:
        """The tokens of each text, uncut, with start and end; and the characters that were left out, by text."""
        return KnownCharacters(self.tokenizer).tokens(
            [fix_text(text) for text in texts] if self.fixes_texts else texts
        )


def _trim(ids: Tensor) -> Tensor:
    """Drop the columns in which every text of the batch is over: there all repeat their end token."""
    changes = (ids[:, 1:] != ids[:, :-1]).any(dim=0).nonzero()
    return ids[:, : int(changes[-1]) + 2] if len(changes) else ids[:, :1]
