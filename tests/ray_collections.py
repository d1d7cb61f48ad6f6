"""A collection scored on nodes of Ray on this machine, whose actors, drivers, or a whole node, die on the way.

    python ray_collections.py MODEL INPUT OUT STORY

STORY is plain (nobody dies), actor (one at the second shard), actors (several, at random moments), node (one of three),
drivers (several, at random moments; the next one goes on) or poison (a row that kills its reader). It runs in a folder
of its own: what is killed are processes that work in that folder. `report.json` tells what was done. OUT is a folder or
a URL, of `shelf_store` too. How many die of several is the variable `UNISIM_TEST_DEATHS`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ray
import shelf_store  # noqa: F401  # registers its URLs, here and where it is sent
from ray.cluster_utils import Cluster

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections import Progress

DEATHS = int(os.environ.get("UNISIM_TEST_DEATHS", "2"))


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


def score(model: str, source: str, out: str, disturb: Callable[[Progress], object]) -> None:
    """Score on the cluster and note what was done."""
    # By name: of a copy that is sent the weights stand elsewhere in memory, and last bits may differ.
    scorer = UniSimScorer(Path(model), batch_size=2, keep_embedding=True)
    report = score_collection(source, out, scorer, engine="ray", rows_per_shard=4, progress=disturb)
    Path("report.json").write_text(
        json.dumps({"rows": report.rows, "errors": report.errors}), encoding="utf-8"
    )


def kill_actors(until: threading.Event, died: list[int]) -> None:
    """Kill actors at random moments."""
    chance = random.Random(0)
    while len(died) < DEATHS and not until.wait(chance.uniform(0.2, 1.5)):
        actors = find_actors(Path.cwd())
        if actors:
            died.append(chance.choice(actors))
            os.kill(died[-1], signal.SIGKILL)


def kill_drivers(address: str, arguments: list[str]) -> int:
    """Start drivers, and kill each at a random moment of its work, until one has done all; how many were killed."""
    chance = random.Random(0)
    for number in range(DEATHS + 1):
        while find_actors(Path.cwd()):  # those of the one before
            time.sleep(0.1)
        driver = subprocess.Popen(
            [sys.executable, __file__, *arguments], env={**os.environ, "RAY_ADDRESS": address}
        )
        if number < DEATHS:
            while not find_actors(Path.cwd()) and driver.poll() is None:
                time.sleep(0.1)
            time.sleep(chance.uniform(0, 2))
            driver.kill()
        if driver.wait() == 0:
            return number
    raise ChildProcessError(f"The last driver ended with {driver.returncode}.")


def main() -> None:
    """Run from the command line."""
    model, source, out, story = sys.argv[1:5]
    if story == "driver":
        ray.init(log_to_driver=False)
        score(model, source, out, lambda _: None)
        return
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [cluster.add_node(num_cpus=1) for _ in range(2 if story == "node" else 1)]
    died: list[int] = []

    def disturb(progress: Progress) -> None:
        if died or progress.shards < 2:
            return
        if story == "node":
            cluster.remove_node(others[-1], allow_graceful=False)
            died.append(0)
        elif story == "actor":
            for actor in find_actors(Path.cwd())[:1]:
                os.kill(actor, signal.SIGKILL)
                died.append(actor)

    done = threading.Event()
    killer = threading.Thread(target=kill_actors, args=(done, died))
    try:
        if story == "drivers":
            died = [0] * kill_drivers(cluster.address, [model, source, out, "driver"])
        else:
            ray.init(address=cluster.address, log_to_driver=False)
            if story == "actors":
                killer.start()
            score(model, source, out, disturb)
        report = json.loads(Path("report.json").read_text(encoding="utf-8"))
        Path("report.json").write_text(json.dumps(report | {"died": len(died)}), encoding="utf-8")
    finally:
        done.set()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
