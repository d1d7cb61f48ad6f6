"""Any image tower joined to any text tower: `VisionTextDualEncoderModel` of transformers."""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.transformers import TransformersEncoder
from unisim_metrics.models.texts import handle_long_texts


class DualEncoder(TransformersEncoder):
    """An encoder over ``transformers.VisionTextDualEncoderModel`` or a ``peft.PeftModel`` of one.

    The text tower is BERT, RoBERTa, XLM-RoBERTa, MPNet, ALBERT or another that pools a text and takes an attention
    mask. Texts are padded at their end to the longest of their batch and the padding is masked, so that neighbours do
    not change an embedding. CLIP's text tower, which needs no mask, has its own encoder, ``CLIPEncoder``.

    What a text spells is text: ``"[SEP]"`` is read as brackets and letters, not as the token that ends a text.

    Args:
        backbone: The model. An adapter stays an adapter; ``load_model`` merges what it loads itself.
        tokenizer: The tokenizer of transformers that belongs to it. The context is its
            ``model_max_length`` or the text tower's positions, whichever are fewer.
        name: What the signature calls the model.
        preprocessing: How images are prepared. Where the image tower takes one size alone, ``preprocessing.size`` must
            be that.
        truncate: Whether texts longer than the context are cut (with one warning a process) or are an error.

    Raises:
        ValueError: If the text tower does not pool or takes no mask, or if the tokenizer or the preprocessing does not
            fit the model.
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
        tower: Any = backbone.text_model
        lacks = _find_lack(tower)
        if lacks is not None:
            raise ValueError(
                f"Argument `backbone` must have a text tower that pools a text and takes an attention mask, but that"
                f" of type {tower.config.model_type!r} {lacks}. Pass a module with `encode_image` and `encode_text`,"
                " with `preprocessing=` and `tokenizer=`."
            )
        self.context = min(_positions(tower), int(tokenizer.model_max_length))

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids `[N, L]`, their attention mask, and token type ids where the tokenizer gives them."""
        tokens = self._tokens(texts)
        rows: list[list[int]] = tokens["input_ids"]
        handle_long_texts(
            [text for text, row in zip(texts, rows, strict=True) if len(row) > self.context],
            self.context,
            self.truncate,
        )
        empty = [text for text, row in zip(texts, rows, strict=True) if not row]
        if empty:
            raise ValueError(
                f"Argument `texts` must hold texts of which the tokenizer makes a token, but got {empty[0]!r}."
            )
        kept = [self._kept(special) for special in tokens["special_tokens_mask"]]
        padding = {
            "input_ids": self.tokenizer.pad_token_id or 0,  # masked, so that any token serves
            "token_type_ids": self.tokenizer.pad_token_type_id,
        }
        padded = {
            key: pad_sequence(
                [
                    torch.tensor([row[place] for place in places])
                    for row, places in zip(tokens[key], kept, strict=True)
                ],
                batch_first=True,
                padding_value=value,
            )
            for key, value in padding.items()
            if key in tokens
        }
        mask = pad_sequence([torch.ones(len(places), dtype=torch.long) for places in kept], batch_first=True)
        return {**padded, "attention_mask": mask}

    def find_long_texts(self, texts: Sequence[str]) -> list[bool]:
        """For each text whether it is longer than the context, so that its end is cut."""
        return [len(row) > self.context for row in self._tokens(texts)["input_ids"]]

    def encode_tokens(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Pass what ``tokenize`` gives through the text tower: `[N, D]`, of any length."""
        length = int(tokens["attention_mask"].sum(dim=1).max())
        tokens = {key: value[:, :length].to(self.device) for key, value in tokens.items()}
        return self.encode_inputs(**tokens)

    def _tokens(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """The tokens of each text, uncut and without padding."""
        tokens = self._split(texts)
        marks = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        rows = zip(tokens["input_ids"], tokens["special_tokens_mask"], strict=True)
        marked = [
            any(token in marks and not special for token, special in zip(*row, strict=True)) for row in rows
        ]
        if not any(marked):
            return tokens
        return self._split(
            [self._spell(text) if is_marked else text for text, is_marked in zip(texts, marked, strict=True)]
        )

    def _split(self, texts: Sequence[str]) -> Mapping[str, Any]:
        tokens: Mapping[str, Any] = self.tokenizer(
            list(texts),
            padding=False,
            truncation=False,
            split_special_tokens=True,
            return_special_tokens_mask=True,
            verbose=False,
        )
        return tokens

    def _spell(self, text: str) -> str:
        """Blanks between the letters of special tokens.

        XLM-RoBERTa's vocabulary has them among its pieces, where they are found whatever is to be split.
        """
        text = unicodedata.normalize("NFKC", text)
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, " ".join(token))
        return text

    def _kept(self, special: Sequence[int]) -> list[int]:
        """The places of the tokens that fit in the context: of a long text the last go, its frame stays."""
        room = max(self.context - sum(special), 0)
        cut = set([place for place, is_special in enumerate(special) if not is_special][room:])
        return [place for place in range(len(special)) if place not in cut]


def _find_lack(tower: Any) -> str | None:
    """What keeps the text tower from embedding texts, if anything does."""
    if getattr(tower, "pooler", None) is None:
        return "does not pool, and transformers' own class cannot embed texts with it either"
    if "attention_mask" not in inspect.signature(tower.forward).parameters:
        return "takes no attention mask, so that a text's embedding would depend on its neighbours"
    return None


def _positions(tower: Any) -> int:
    """How many tokens the text tower has positions for.

    RoBERTa and its kin count positions from behind the padding's own, which their table of embeddings names.
    """
    table = getattr(getattr(tower, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    positions: int = tower.config.max_position_embeddings
    return positions if padding is None else positions - padding - 1
