"""How the states that say what was scored are put together: only where they agree."""

from __future__ import annotations

from torch import Tensor

from unisim_metrics.tasks import TASKS

# The task's index before the first update; a fingerprint is all zeros then.
NOTHING_SCORED = -1


def one_task(indices: Tensor) -> Tensor:
    """The task of several processes or metrics.

    Args:
        indices: Of each its task's index in `TASKS`, `[N]`; −1 for one that has scored nothing.

    Raises:
        ValueError: If they scored several tasks.
    """
    found = sorted(set(indices.tolist()) - {NOTHING_SCORED})
    if len(found) > 1:
        raise ValueError(
            "Scores of one task are put together, but processes or metrics scored"
            f" {' and '.join(repr(TASKS[index]) for index in found)}: say `task=`, or use one metric a task."
        )
    return indices.max()


def one_fingerprint(fingerprints: Tensor) -> Tensor:
    """The fingerprint of model, task, method and prompts of several processes or metrics.

    Args:
        fingerprints: `[N, P]`; zeros for one that has scored nothing.

    Raises:
        ValueError: If they are of several models, tasks, methods or prompts.
    """
    found = {tuple(fingerprint) for fingerprint in fingerprints.tolist() if any(fingerprint)}
    if len(found) > 1:
        raise ValueError(
            "Scores made in one way are put together, but processes or metrics had several models, tasks, methods"
            " or prompts."
        )
    return fingerprints.amax(dim=0)
