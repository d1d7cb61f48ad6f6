"""Texts with characters that a tokenizer lacks, where such a character would end the text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["KnownCharacters", "fold"]

# What compatibility decomposition leaves as it is, and every keyboard has in another form.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
        "ß": "ss",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ł": "l",
    }
)


def fold(text: str) -> str:
    """The nearest plain spelling: ``é`` as ``e``, ``’`` as ``'``, ``–`` as ``-``, without what has none."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_PLAIN)).lower().translate(_PLAIN)
    return "".join(character for character in decomposed if character.isascii())


class KnownCharacters:
    """Tokens of texts, none of which ends early.

    A vocabulary whose unknown token is its end token would end a text at the first character that it lacks, for CLIP
    pools there. So would a text that spells the end token out. Such characters are spelt plainly, and where the
    vocabulary lacks that too, they are left out. Texts without them keep their tokens.

    Args:
        tokenizer: A tokenizer of transformers that ends each text by its end token.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def tokens(self, texts: Sequence[str]) -> tuple[list[list[int]], dict[str, str]]:
        """The tokens of each text, and for each text that had them the characters that its vocabulary lacks.

        Raises:
            ValueError: If nothing is left of a text, or the tokenizer cannot say where its tokens are from.
        """
        rows: list[list[int]] = self.tokenizer(list(texts), padding=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        end = self.tokenizer.eos_token_id
        lacking = {}
        for index, row in enumerate(rows):
            if end in row[:-1]:
                rows[index], lacking[texts[index]] = self._without_unknown(texts[index])
        return rows, lacking

    def _without_unknown(self, text: str) -> tuple[list[int], str]:
        if not getattr(self.tokenizer, "is_fast", False):
            raise ValueError(
                f"The tokenizer writes its end token inside the text {text!r}, and the model would not read the rest:"
                " take characters that its vocabulary has."
            )
        found: dict[str, None] = {}
        rest = text
        while True:
            tokens = self.tokenizer(rest, truncation=False, verbose=False, return_offsets_mapping=True)
            row: list[int] = tokens["input_ids"]
            # A character of several bytes, none of them known, has several tokens of one place.
            places = dict.fromkeys(
                place
                for token, place in zip(row[1:-1], tokens["offset_mapping"][1:-1], strict=True)
                if token == self.tokenizer.eos_token_id
            )
            if not places:
                break
            for start, stop in reversed(places):
                stop = max(stop, start + 1)
                part = rest[start:stop]
                found |= dict.fromkeys(part.strip())
                plain = fold(part)
                rest = rest[:start] + (plain if plain != part.lower() else " ") + rest[stop:]
        if len(row) == 2:
            raise ValueError(
                f"Argument `texts` must hold characters that the model's vocabulary has, but got {text!r}, of which it"
                " has none."
            )
        return row, "".join(found)
