"""The objective of UniSim: one hinge over triplets, the same for every task (paper, Section 3.3, Eq. 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from unisim_metrics.functional import choose, cosine_similarity, hinge_loss
from unisim_metrics.tasks import Task

MARGIN = 0.05


@dataclass(frozen=True)
class Triplets:
    """The embeddings of one task's triplets.

    Attributes:
        references: `[B, D]`, of any length; for quality the prompt's, once a triplet.
        alternatives: `[B, 2, D]`.
        labels: The index of the alternative that people chose, integers `[B]`.
    """

    references: Tensor
    alternatives: Tensor
    labels: Tensor

    @cached_property
    def scores(self) -> Tensor:
        """Cosine similarity of each alternative to its reference, `[B, 2]`."""
        return cosine_similarity(self.references.unsqueeze(-2), self.alternatives)

    def accuracy(self) -> Tensor:
        """The share of triplets in which the chosen alternative scores higher; NaN without any."""
        return (choose(self.scores) == self.labels).float().mean()


def task_losses(
    batches: Mapping[Task, Triplets], margin: float = MARGIN, reduction: Literal["sum", "mean"] = "sum"
) -> dict[Task, Tensor]:
    """Eq. 1 for each task of a step; their sum is Eq. 2.

    Args:
        batches: The triplets of each task.
        margin: How much more similar the chosen alternative has to be; the paper takes 0.05.
        reduction: Over the triplets of a task: `"sum"` as the authors' code, or `"mean"`.

    Returns:
        A scalar a task, in the order of `batches`.

    Raises:
        ValueError: If there is no task, or a label is no index of an alternative.
    """
    if not batches:
        raise ValueError("Argument `batches` must hold the triplets of at least one task, but it is empty.")
    return {
        task: hinge_loss(triplets.scores, triplets.labels, margin, reduction)
        for task, triplets in batches.items()
    }
