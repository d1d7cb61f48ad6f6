"""Telling from outside which texts a tokenizer cuts, where it does not say so itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["find_cut_texts"]


def find_cut_texts(tokenizer: Callable[[list[str]], Any], texts: Sequence[str]) -> list[bool]:
    """For each text whether a tokenizer that is a mere callable drops its end.

    It does if a beginning of the text gives the same tokens as the whole, and what is added to the text changes
    nothing either: the latter tells a full context from an end that the tokenizer passes over, such as a full
    stop.

    Args:
        tokenizer: From a list of texts to a tensor with one row a text, or to a mapping of such tensors.
        texts: The texts.
    """
    texts = [text.rstrip() for text in texts]
    beginnings = [(text[:-1], text.rpartition(" ")[0].rstrip(), text[:1]) for text in texts]
    asked = [
        text
        for whole, parts in zip(texts, beginnings, strict=True)
        for text in (whole, *(part or whole for part in parts))
    ]
    rows = _rows(tokenizer, asked)
    found = []
    for index, (text, parts) in enumerate(zip(texts, beginnings, strict=True)):
        whole, shorter, fewer, first = rows[4 * index : 4 * index + 4]
        # A beginning that is empty is none, and of a text that says nothing at all nothing is lost.
        ends = [beginning for beginning, part in zip((shorter, fewer), parts, strict=False) if part]
        lost = any(_equal(whole, beginning) for beginning in ends) and not _equal(whole, first)
        found.append(lost and _fills_context(tokenizer, text))
    return found


def _fills_context(tokenizer: Callable[[list[str]], Any], text: str) -> bool:
    """Whether a longer text has the same tokens. A tokenizer that refuses long texts cuts none."""
    try:
        whole, longer = _rows(tokenizer, [text, f"{text} {text}"])
    except (RuntimeError, ValueError):
        return False
    return _equal(whole, longer)


def _rows(tokenizer: Callable[[list[str]], Any], texts: list[str]) -> list[list[Tensor]]:
    """The tokens of each text."""
    tokens = tokenizer(texts) if texts else []
    columns = list(tokens.values()) if isinstance(tokens, Mapping) else [tokens]
    return [[torch.as_tensor(column[index]) for column in columns] for index in range(len(texts))]


def _equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
