"""Checks on texts, and the one rule for those longer than a model can read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

__all__ = ["check_texts", "handle_long_texts"]

_warned = False


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
