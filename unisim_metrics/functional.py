"""The metrics as pure functions, `unisim_score` and `unisim_rank`, and all tensor maths of the library."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from unisim_metrics.columns import as_lists, one_for_each
from unisim_metrics.maths.embeddings import (
    antonym_difference,
    clip_iqa_probability,
    cosine_similarity,
    odd_one_out,
)
from unisim_metrics.maths.ranking import (
    choose,
    hinge_loss,
    meetings,
    rank,
    revisited_average_precision,
    win_rates,
    wins,
)
from unisim_metrics.models.answering import check_answers
from unisim_metrics.models.comparing import check_groups, compare, score_pairs
from unisim_metrics.models.kept import ModelLike, as_model
from unisim_metrics.prompts import PromptsLike
from unisim_metrics.tasks import Method, Task, check_task

__all__ = [
    "antonym_difference",
    "choose",
    "clip_iqa_probability",
    "compare",
    "cosine_similarity",
    "hinge_loss",
    "meetings",
    "odd_one_out",
    "rank",
    "revisited_average_precision",
    "score_pairs",
    "unisim_rank",
    "unisim_score",
    "win_rates",
    "wins",
]


def unisim_score(
    preds: Any,
    target: Any = None,
    model_name_or_path: ModelLike = "unisim-mini",
    task: Task | None = None,
    method: Method = "naive",
    prompts: PromptsLike = None,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """UniSim score of predictions, each against its own target; see `unisim_metrics.UniSimScore`.

    Gradients flow to float images that require them.

    Args:
        preds: N images or texts.
        target: N images or texts, or one text, as a plain `str`, for all; None for quality and attributes.
        model_name_or_path: What `load_model` takes; a model loaded by name is kept for the next call.
        task: The task; inferred if None.
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.
        reduction: `"mean"` (a scalar) or `"none"` (`[N]`).

    Returns:
        Float scores in [−1, 1] (`clip-iqa`: [0, 1]), higher = closer.

    Raises:
        ValueError: If an argument is out of its range, inputs do not fit together, or the model does not score the
            task.
        TypeError: If something is neither image nor text.

    Examples:
        >>> from skimage.data import astronaut
        >>> import torch
        >>> photo = torch.from_numpy(astronaut()).permute(2, 0, 1)
        >>> bool(unisim_score(photo, photo) > 0.999)
        True
    """
    if reduction not in ("mean", "none"):
        raise ValueError(f"Argument `reduction` must be one of ('mean', 'none'), but got {reduction!r}.")
    scores = score_pairs(as_model(model_name_or_path), preds, target, task, method, prompts)
    return scores.mean() if reduction == "mean" else scores


def unisim_rank(
    candidates: Any,
    references: Any = None,
    model_name_or_path: ModelLike = "unisim-mini",
    task: Task | None = None,
    method: Method = "naive",
    prompts: PromptsLike = None,
) -> Tensor:
    """Score N candidates against each of B references; see `unisim_metrics.UniSimRanking`.

    `unisim_metrics.functional.rank` and `.choose` turn the scores into ranks and choices.

    Args:
        candidates: B groups of N images or texts, a tensor `[B, N, C, H, W]` or nested sequences.
        references: B images or texts, or one text, as a plain `str`, for all; None for quality, attributes and
            odd-one-out.
        model_name_or_path: What `load_model` takes; a model loaded by name is kept for the next call.
        task: The task; inferred if None (odd-one-out has to be named).
        method: How quality and attributes are scored.
        prompts: Texts of quality and attributes: a wording, `"authors"` (None) or `"paper"`, or a `Prompts`.

    Returns:
        Scores `[B, N]`, higher = closer; NaN where a smaller group has no candidate. For `clip-iqa` they are
        differences of similarities, in the order of its probabilities and without their ties.

    Raises:
        ValueError: If inputs do not fit together, a group has fewer than two candidates, or the model does not answer
            the task.
        TypeError: If something is neither image nor text.
    """
    candidates, references = as_lists(candidates), as_lists(references)
    task, sizes = check_groups(candidates, references, check_task(task), names=("candidates", "references"))
    references = one_for_each(references, len(sizes)) if task == "image-text" else references
    model = as_model(model_name_or_path)
    check_answers(model, task)
    return model.compare(references, candidates, task=task, method=method, prompts=prompts)
