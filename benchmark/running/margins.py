"""How much higher a model scores what people chose: differences of scores on the pairs of a set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.images.threads import usable_cores
from unisim_metrics.models import load_model
from unisim_metrics.signature import signature
from unisim_metrics.statistics.clusters import Clusters

from ..provenance import Provenance
from .abilities import why_not
from .embedding_cache import default_folder
from .planning import choose_datasets, plan_set
from .processes import join_processes
from .set_runner import SetRunner

if TYPE_CHECKING:
    from unisim_metrics.models import PerceptualModel
    from unisim_metrics.tasks import Method, Task

    from ..datasets import Split


@dataclass(frozen=True)
class Margins:
    """Pairs that people judged, with a model's scores.

    Attributes:
        dataset: The set.
        samples_hash: The SHA-256 of its list of samples.
        provenance: Where they are from.
        signature: What made the scores.
        differences: The score of the first alternative less that of the second, `[n]`.
        chosen: Whether people chose the first, `[n]`.
        clusters: Which pairs hang together.
    """

    dataset: str
    samples_hash: str
    provenance: Provenance
    signature: str
    differences: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    clusters: Clusters


def measure_margins(
    model: str | PerceptualModel,
    dataset: str | Path,
    root: str | os.PathLike[str] = ".",
    *,
    split: Split = "test",
    n: int | None = None,
    seed: int = 0,
    method: Method = "naive",
    cache: bool = True,
) -> Margins:
    """Score the pairs of a set. What a run of the benchmark has embedded is not embedded again.

    Pairs of which an image cannot be read, or that the model gives no answer to, are left out.

    Args:
        model: What `load_model` takes.
        dataset: An id, or a file of one's own samples.
        root: The data root.
        split: `"test"` or `"train"`.
        n: How many samples; None for as many as in the paper.
        seed: Which draw of them.
        method: How quality and attributes are scored.
        cache: Whether embeddings are read from disk and kept there.

    Raises:
        ValueError: If an argument is out of its range, the model does not answer the set's task, or the set is not of
            pairs.
        OSError: If files of the set are not there.
    """
    loaded = load_model(model)
    ((found,), _) = choose_datasets(dataset, Path(root), split)
    planned = plan_set(found, split, n, seed)
    reason = why_not(loaded, found.task)
    if reason is not None:
        raise ValueError(f"Argument `dataset` must not be {found.id!r} for this model: {reason}.")
    if planned.labels is None or any(len(sample.alternatives) != 2 for sample in planned.samples):
        raise ValueError(f"Argument `dataset` must be a set of pairs, but {found.id!r} is not.")
    with join_processes() as processes:
        runner = SetRunner(
            loaded,
            processes,
            folder=None,
            cache=default_folder() if cache else None,
            workers=usable_cores(),
            batch_size=None,
            max_lost=1.0,
            overwrite="always",
            demonstrations=0,
            asked={found.id: loaded},
        )
        answers = {answer.method: answer for answer in runner.answer(planned).answers}
    way = method if method in answers else None
    if way not in answers:
        raise ValueError(
            f"Argument `method` must be one of {list(answers)} for {found.id!r}, but got {method!r}."
        )
    margins = answers[way].margins
    assert margins is not None
    known = ~np.isnan(margins)
    if not known.any():
        raise ValueError(f"Dataset {found.id!r} has no pair that the model gives scores to.")
    return Margins(
        found.id,
        planned.samples_hash,
        planned.provenance,
        signature(loaded, cast("Task", found.task), method),
        margins[known],
        planned.labels[known] == 0,
        Clusters.of_columns(planned.clusters, planned.n).take(known),
    )
