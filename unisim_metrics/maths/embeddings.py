"""Scores from embeddings: cosine similarity, CLIP-IQA, odd one out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# The scale of CLIP's own logits, as in CLIP-IQA (Wang et al. 2023); a larger one makes probabilities harder.
CLIP_IQA_SCALE = 100.0


def cosine_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarity of embeddings along the last dimension.

    Args:
        first: Embeddings `[..., D]`, any length.
        second: Embeddings `[..., D]`, broadcast against `first`.

    Returns:
        Similarities `[...]` in [−1, 1].
    """
    return (F.normalize(first, dim=-1) * F.normalize(second, dim=-1)).sum(dim=-1).clamp(-1.0, 1.0)


def antonym_difference(images: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """How much closer images are to the positive of two antonym prompts than to the negative.

    It orders images as `clip_iqa_probability` does, which is 1 in float32 from a difference of about 0.17 on.

    Args:
        images: Image embeddings `[..., D]`.
        positive: Embedding of the positive prompt, `[D]`.
        negative: Embedding of the negative prompt, `[D]`.

    Returns:
        Differences of similarities `[...]` in [−2, 2].
    """
    return cosine_similarity(images, positive) - cosine_similarity(images, negative)


def clip_iqa_probability(
    images: Tensor, positive: Tensor, negative: Tensor, scale: float = CLIP_IQA_SCALE
) -> Tensor:
    """Probability of the positive of two antonym prompts (CLIP-IQA; paper, Appendix C).

    Args:
        images: Image embeddings `[..., D]`.
        positive: Embedding of the positive prompt, `[D]`.
        negative: Embedding of the negative prompt, `[D]`.
        scale: What similarities are multiplied by before the softmax.

    Returns:
        Probabilities `[...]` in [0, 1].
    """
    return torch.sigmoid(scale * antonym_difference(images, positive, negative))


def odd_one_out(images: Tensor) -> Tensor:
    """Score each of three images as the odd one: the similarity of the other two (paper, Section 3.1).

    Args:
        images: Embeddings `[..., 3, D]`.

    Returns:
        Scores `[..., 3]` in [−1, 1]; the highest is the image left out of the most similar pair.

    Raises:
        ValueError: If there are not three images a sample.
    """
    if images.ndim < 2 or images.shape[-2] != 3:
        raise ValueError(
            f"Argument `images` must be embeddings [..., 3, D], but got shape {tuple(images.shape)}."
        )
    return cosine_similarity(images[..., (1, 2, 0), :], images[..., (2, 0, 1), :])
