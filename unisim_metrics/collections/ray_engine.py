"""The shards of a collection on a cluster of Ray: its Data library hands them to actors, and each writes its own.

Ray starts an actor that died anew and gives its shard to another. A shard takes its name when it is complete, so it is
neither lost nor there twice; and the row that an actor died of is passed over by the next.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any

import torch

from unisim_metrics.collections.output import OutputFolder
from unisim_metrics.collections.progress import Tally
from unisim_metrics.collections.reading.planning import Shard
from unisim_metrics.collections.scorer import UniSimScorer
from unisim_metrics.collections.writing import open_shards, write_shards
from unisim_metrics.installation import install_extra

# Shards that are handed over at a time: a plan of any length takes no more memory.
_AT_A_TIME = 1000


def run_ray(
    shards: Iterator[Shard],
    scorer: UniSimScorer,
    folder: OutputFolder,
    tally: Tally,
    concurrency: int | None = None,
) -> None:
    """Score shards on the cluster that is connected, that `RAY_ADDRESS` names, or on one of this machine.

    All of its machines have to see the inputs, the model and the folder under their names.

    Args:
        shards: The shards, those that are complete among them.
        scorer: Scores their batches; a copy of it goes to every actor.
        folder: Where they are written.
        tally: Counts what is done.
        concurrency: How many actors score; one a GPU of the cluster if None, or one a core where there is none.

    Raises:
        BadRowsError: If the tally says that too much is bad.
        ChildProcessError: If actors die of a shard again and again, and no row of it is to blame.
        ModuleNotFoundError: If ray is missing.
    """
    try:
        ray, data = import_module("ray"), import_module("ray.data")
    except ImportError as error:
        raise ModuleNotFoundError(f"The engine 'ray' needs Ray Data: {install_extra('ray')}.") from error
    if not ray.is_initialized():
        ray.init()
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    on_gpus = gpus > 0 and (scorer.device or "cuda").startswith("cuda")
    actors = concurrency or (gpus if on_gpus else max(1, int(resources.get("CPU", 1))))
    context = data.DataContext.get_current()
    shows_progress, context.enable_progress_bars = context.enable_progress_bars, False
    left = open_shards(shards, folder, tally)
    try:
        while part := [{"shard": pickle.dumps(shard)} for shard in islice(left, _AT_A_TIME)]:
            scored = data.from_items(part, override_num_blocks=len(part)).map(
                _ShardTask,
                fn_constructor_args=(scorer, folder, os.getcwd()),
                compute=data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(part))),
                **({"num_gpus": 1} if on_gpus else {"num_cpus": 1}),
            )
            for done in scored.iter_rows():
                tally.add(done["rows"], done["errors"], done["reason"])
                tally.finish_shard()
    finally:
        context.enable_progress_bars = shows_progress


class _ShardTask:
    """An actor: scores and writes one shard after the other, and tells what they hold.

    Args:
        scorer: Scores.
        folder: Where shards are written.
        directory: Where names that are relative begin.
    """

    def __init__(self, scorer: UniSimScorer, folder: OutputFolder, directory: str) -> None:
        os.chdir(directory)
        # Each core has its actor, and Ray hands on the threads that the environment names for a whole machine.
        if cores := import_module("ray").get_runtime_context().get_assigned_resources().get("CPU"):
            torch.set_num_threads(max(1, int(cores)))
        self._scorer = scorer
        self._folder = folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        held = _Held()
        shard: Shard = pickle.loads(row["shard"])
        write_shards(self._scorer, iter([shard]), self._folder, held)
        return vars(held)


class _Held:
    """What a shard holds, on its way to the driver."""

    def __init__(self) -> None:
        self.rows = self.errors = 0
        self.reason = ""

    def add(self, rows: int, errors: int, reason: str) -> None:
        self.rows += rows
        self.errors += errors
        self.reason = reason or self.reason

    def finish_shard(self) -> None:
        """Nothing is left to be told."""
