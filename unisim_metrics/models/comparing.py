"""A model, a task and inputs in; scores out. The metrics, the losses and the models' `compare` all end here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from unisim_metrics.columns import as_lists, one_for_each
from unisim_metrics.images import list_images
from unisim_metrics.maths.embeddings import (
    antonym_difference,
    clip_iqa_probability,
    cosine_similarity,
    odd_one_out,
)
from unisim_metrics.models.answering import MAIN_VIEW, SCORED_ALONE, Scorer, check_answers, view_of
from unisim_metrics.models.protocol import PerceptualModel
from unisim_metrics.prompts import PromptsLike, check_prompts, resolve_prompts
from unisim_metrics.tasks import (
    ATTRIBUTES,
    Method,
    Modality,
    Task,
    check_method,
    check_task,
    modalities,
    resolve_task,
)


class Embedder(Protocol):
    """What an encoder offers: unit-length embeddings of images and of texts.

    One that has views of its own takes their names by `view=` in `embed_images`, and tells them by `view_of(task)`.
    """

    def embed_images(self, images: Any) -> Tensor:
        """Embed images, `[N, D]`."""

    def embed_texts(self, texts: Any) -> Tensor:
        """Embed texts, `[N, D]`."""


def score_pairs(
    embedder: Embedder,
    preds: Any,
    target: Any = None,
    task: Task | None = None,
    method: Method = "naive",
    prompts: PromptsLike = None,
) -> Tensor:
    """Score every prediction against its own target, or by its quality or attribute.

    Args:
        embedder: Where the embeddings come from, or the scores of tasks that a model answers by those.
        preds: N images or texts; one image or text counts as N = 1.
        target: N images or texts, or one text, as a plain `str`, for all; None for quality and attributes.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

    Returns:
        Scores `[N]`: cosine similarities in [−1, 1], probabilities in [0, 1] for `clip-iqa`; of tasks that a model
        answers by scores of its own what it gives.

    Raises:
        ValueError: If inputs do not fit together or fit no task, or the task is none that scores one prediction alone.
        TypeError: If something is neither image nor text.
    """
    preds, target = as_lists(preds), as_lists(target)
    task = resolve_task(check_task(task), preds, target)
    if task == "odd-one-out":
        raise ValueError(
            "Argument `task` must not be 'odd-one-out' here: it takes three images a sample, see `UniSimRanking`."
        )
    check_method(method)
    check_prompts(prompts)
    way = check_answers(embedder, task, SCORED_ALONE)
    first, second = modalities(task)
    if second == "text":
        target = one_for_each(target, _count(preds))
    sizes = _count(preds), _count(target)
    if second is not None and sizes[0] != sizes[1]:
        raise ValueError(
            f"Arguments `preds` and `target` must have the same length, but got {sizes[0]} and {sizes[1]}."
        )
    if way == "scores":
        return cast(Scorer, embedder).score(preds, target, task, method, prompts)
    view = view_of(embedder, task)
    embeddings = embed(embedder, preds, first, view)
    if second is not None:
        return cosine_similarity(embeddings, embed(embedder, target, second, view))
    texts = _embed_prompts(embedder, task, method, prompts)
    return (
        cosine_similarity(embeddings, texts[0])
        if method == "naive"
        else clip_iqa_probability(embeddings, *texts)
    )


def compare(
    embedder: Embedder,
    references: Any,
    alternatives: Any,
    task: Task | None = None,
    method: Method = "naive",
    prompts: PromptsLike = None,
) -> Tensor:
    """Score N alternatives against each of B references (the forced choice; paper, Section 3.1).

    Args:
        embedder: Where the embeddings come from, or the scores or choices of tasks that a model answers by those.
        references: B images or texts, or one text, as a plain `str`, for all; None for quality, attributes and
            odd-one-out.
        alternatives: B groups: a tensor `[B, N, C, H, W]`, an array `[B, N, H, W, C]`, or a sequence of groups, each a
            tensor `[N, C, H, W]`, an array `[N, H, W, C]` or a sequence of images or texts. Groups may differ in size.
        task: The task; inferred if None (odd-one-out has to be named).
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

    Returns:
        Scores `[B, N]`, higher = closer: cosine similarities, for `clip-iqa` the differences of two, which order as
        its probabilities do, without their ties. NaN where a smaller group has no alternative.

    Raises:
        ValueError: If inputs do not fit together, a group has fewer than two alternatives, nothing fits a task, or the
            model does not answer it.
        TypeError: If something is neither image nor text.
    """
    alternatives, references = as_lists(alternatives), as_lists(references)
    task, sizes = check_groups(alternatives, references, check_task(task))
    check_method(method)
    check_prompts(prompts)
    way = check_answers(embedder, task)
    if way == "choices":
        return cast(PerceptualModel, embedder).compare(references, alternatives, task, method, prompts)
    first, second = modalities(task)
    if second == "text":
        references = one_for_each(references, len(sizes))
    if way == "scores":
        scores = _score_groups(cast(Scorer, embedder), references, alternatives, sizes, task, method, prompts)
        return _padded(scores, sizes)
    view = view_of(embedder, task)
    embeddings = embed(embedder, _flatten(alternatives), first, view)
    if task == "odd-one-out":
        return odd_one_out(embeddings.view(len(sizes), 3, -1))
    if second is None:
        texts = _embed_prompts(embedder, task, method, prompts)
        scores = (
            cosine_similarity(embeddings, texts[0])
            if method == "naive"
            else antonym_difference(embeddings, *texts)
        )
    else:
        repeats = torch.tensor(sizes, device=embeddings.device)
        scores = cosine_similarity(
            embeddings, embed(embedder, references, second, view).repeat_interleave(repeats, dim=0)
        )
    return _padded(scores, sizes)


def check_groups(
    alternatives: Any,
    references: Any,
    task: Task | None,
    names: tuple[str, str] = ("alternatives", "references"),
) -> tuple[Task, list[int]]:
    """Check the inputs of a forced choice, all but the images and texts themselves.

    Args:
        alternatives: As in `compare`.
        references: As in `compare`.
        task: The task; inferred if None.
        names: How the caller names the two arguments, for error texts.

    Returns:
        The task, and how many alternatives each group has.

    Raises:
        ValueError: If inputs do not fit together, a group has fewer than two alternatives, or nothing fits a task.
        TypeError: If something is neither image nor text.
    """
    task = resolve_task(task, alternatives, references, names)
    _check_nesting(alternatives, names[0])
    sizes = [_count(group) for group in alternatives]
    if task == "odd-one-out" and set(sizes) != {3}:
        raise ValueError(
            f"Argument `{names[0]}` must hold three images a group for odd-one-out, but got {sizes}."
        )
    if min(sizes) < 2:
        raise ValueError(
            f"Argument `{names[0]}` must hold at least two alternatives a group,"
            f" but group {sizes.index(min(sizes))} has {min(sizes)}."
        )
    if modalities(task)[1] == "text":
        references = one_for_each(references, len(sizes))
    if references is not None and _count(references) != len(sizes):
        raise ValueError(
            f"Arguments `{names[0]}` and `{names[1]}` must have the same length,"
            f" but got {len(sizes)} and {_count(references)}."
        )
    return task, sizes


def _embed_prompts(embedder: Embedder, task: Task, method: Method, prompts: PromptsLike) -> Tensor:
    """What images without a reference are compared with: `[1, D]`, `[2, D]` for the antonyms of `clip-iqa`."""
    resolved = resolve_prompts(task, prompts)
    if resolved is None:
        raise ValueError(
            f"Argument `task` must be one of {ATTRIBUTES} where there is no reference, but got {task!r}."
        )
    return embedder.embed_texts(list(resolved.texts(method)))


def embed(embedder: Any, items: Any, modality: Modality, view: str = MAIN_VIEW) -> Tensor:
    """Embed images or texts, `[N, D]`; images in one of the embedder's views."""
    if modality == "text":
        return cast(Tensor, embedder.embed_texts(items))
    # Most embedders have one view, and take no word for it.
    return cast(
        Tensor, embedder.embed_images(items) if view == MAIN_VIEW else embedder.embed_images(items, view=view)
    )


def _score_groups(
    scorer: Scorer,
    references: Any,
    alternatives: Any,
    sizes: Sequence[int],
    task: Task,
    method: Method,
    prompts: PromptsLike,
) -> Tensor:
    """Score all alternatives, one group behind the other, each against its own reference."""
    first, second = modalities(task)
    preds = _listed(_flatten(alternatives), first)
    if task == "odd-one-out":
        # As by embeddings: each image by the similarity of the other two.
        starts = range(0, len(preds), 3)
        others = [
            (start + (place + 1) % 3, start + (place + 2) % 3) for start in starts for place in range(3)
        ]
        pairs = [[preds[pair[side]] for pair in others] for side in (0, 1)]
        return scorer.score(pairs[0], pairs[1], "image-image", method, prompts)
    if second is None:
        return scorer.score(preds, None, task, method, prompts)
    targets = [
        target for target, size in zip(_listed(references, second), sizes, strict=True) for _ in range(size)
    ]
    return scorer.score(preds, targets, task, method, prompts)


def _listed(items: Any, modality: Modality) -> list[Any]:
    return list_images(items) if modality == "image" else list(items)


def _padded(scores: Tensor, sizes: Sequence[int]) -> Tensor:
    groups = torch.split(scores, list(sizes))
    return torch.nn.utils.rnn.pad_sequence(list(groups), batch_first=True, padding_value=torch.nan)


def _count(items: Any) -> int:
    """Number of images or texts in a tensor, an array, a sequence (which may hold batches) or a single item."""
    if isinstance(items, Tensor):
        return 1 if items.ndim == 3 else items.shape[0]
    if isinstance(items, np.ndarray):
        return 1 if items.ndim in (2, 3) else items.shape[0]
    if isinstance(items, Sequence) and not isinstance(items, str):
        return sum(_count(item) for item in items)
    return 1


def _check_nesting(alternatives: Any, name: str) -> None:
    if isinstance(alternatives, Tensor | np.ndarray):
        if alternatives.ndim != 5:
            raise ValueError(
                f"Argument `{name}` must be a tensor [B, N, C, H, W], an array [B, N, H, W, C] or a sequence of groups,"
                f" but got shape {tuple(alternatives.shape)}."
            )
        return
    if not _is_list(alternatives):
        raise ValueError(f"Argument `{name}` must be a sequence of groups, but got {alternatives!r}.")
    for index, group in enumerate(alternatives):
        if not _is_list(group) and not (isinstance(group, Tensor | np.ndarray) and group.ndim == 4):
            raise ValueError(
                f"Argument `{name}` must be a sequence of groups (each a sequence or a tensor [N, C, H, W]),"
                f" but entry {index} is a {type(group).__name__}."
            )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _flatten(alternatives: Any) -> Any:
    """All alternatives as one flat input of an encoder."""
    if isinstance(alternatives, Tensor):
        return alternatives.flatten(0, 1)
    if isinstance(alternatives, np.ndarray):
        return alternatives.reshape(-1, *alternatives.shape[2:])
    return [item for group in alternatives for item in (group if _is_list(group) else [group])]
