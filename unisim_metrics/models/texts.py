"""Checks on texts, and the one rule for those longer than a model can read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

CLIP_VOCABULARY = 49408
"""The tokens of OpenAI's CLIP, whose texts pass ftfy first."""

_warned = False
_warned_of_characters = False


def fix_text(text: str) -> str:
    """Mend a text as CLIP's own tokenizer does: curly quotes, ligatures, ``&amp;``, text decoded wrongly."""
    import ftfy

    return ftfy.fix_text(text)


def check_texts(texts: str | Sequence[str]) -> list[str]:
    """List the texts.

    Raises:
        TypeError: If something else than a string or a sequence of strings comes.
        ValueError: If there is no text.
    """
    if isinstance(texts, str):
        return [texts]
    items: object = texts
    if not isinstance(items, Sequence):
        kind = type(texts).__name__
        raise TypeError(f"Argument `texts` must be a string or a sequence of strings, but got {kind}.")
    for position, text in enumerate(items):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise TypeError(
                f"Argument `texts` must hold strings only, but got {kind} at position {position}."
            )
    if not items:
        raise ValueError("Argument `texts` must hold at least one text, but got none.")
    return list(items)


def handle_long_texts(long_texts: Sequence[str], context: int, truncate: bool) -> None:
    """Say that texts are longer than the context: by a warning, once a process, or by an error.

    Args:
        long_texts: The texts that do not fit.
        context: How many tokens fit, special ones included.
        truncate: Whether the caller goes on with what fits.

    Raises:
        ValueError: If there are such texts and ``truncate`` is false.
    """
    global _warned
    if not long_texts:
        return
    start = long_texts[0] if len(long_texts[0]) <= 60 else long_texts[0][:57] + "..."
    if not truncate:
        raise ValueError(
            f"Argument `texts` must fit in the model's context of {context} tokens, but got"
            f" {len(long_texts)} longer text(s), the first of them {start!r}. Load the model with"
            " `truncate=True` to score their beginnings."
        )
    if not _warned:
        _warned = True
        warnings.warn(
            f"A text is longer than the model's context of {context} tokens and is cut: {start!r}. Further"
            " long texts are cut without a warning; load the model with `truncate=False` to get an error"
            " instead.",
            UserWarning,
            stacklevel=4,  # the caller of `embed_texts`
        )


def handle_unknown_characters(lacking: Mapping[str, str], count: int, truncate: bool) -> None:
    """Say that characters are left out: by a warning, once a process, or by an error.

    Args:
        lacking: The characters that the vocabulary lacks, by text.
        count: How many texts there were.
        truncate: Whether the caller goes on without them.

    Raises:
        ValueError: If there are such texts and ``truncate`` is false.
    """
    global _warned_of_characters
    if not lacking:
        return
    characters = ", ".join(repr(character) for character in dict.fromkeys("".join(lacking.values())))
    found = f"{len(lacking)} of {count} texts with characters that its vocabulary lacks: {characters}"
    if not truncate:
        raise ValueError(
            f"Argument `texts` must hold characters that the model knows, but got {found}. Load the model with"
            " `truncate=True` to score them without."
        )
    if not _warned_of_characters:
        _warned_of_characters = True
        warnings.warn(
            f"The model got {found}. They are spelt plainly (é as e) or left out, from now on without a warning; load"
            " the model with `truncate=False` to get an error instead.",
            UserWarning,
            stacklevel=4,  # the caller of `embed_texts`
        )
