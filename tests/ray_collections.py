"""A collection scored on two nodes of Ray on this machine, one of whose actors, or a whole node, dies on the way.

    python ray_collections.py MODEL INPUT OUT STORY

STORY is plain, actor or node. It runs in a folder of its own: what is killed are actors that work in that folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections import Progress


def find_actors(folder: Path) -> list[int]:
    """The actors that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, place = (process / "cmdline").read_bytes(), Path(os.readlink(process / "cwd"))
        except OSError:  # it has ended
            continue
        if command.startswith(b"ray::") and b"_ShardTask" in command and place == folder:
            found.append(int(process.name))
    return found


def main() -> None:
    """Run from the command line."""
    model, source, out, story = sys.argv[1:5]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    died: list[int] = []

    def disturb(progress: Progress) -> None:
        if died or progress.shards < 2 or story == "plain":
            return
        if story == "node":
            cluster.remove_node(other, allow_graceful=False)
            died.append(0)
            return
        for actor in find_actors(Path.cwd())[:1]:
            os.kill(actor, signal.SIGKILL)
            died.append(actor)

    try:
        scorer = UniSimScorer(Path(model), batch_size=2, keep_embedding=True)
        report = score_collection(source, out, scorer, engine="ray", rows_per_shard=4, progress=disturb)
        done = {"rows": report.rows, "errors": report.errors, "died": len(died)}
        Path("report.json").write_text(json.dumps(done), encoding="utf-8")
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
