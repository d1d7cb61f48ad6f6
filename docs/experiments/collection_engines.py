"""How fast a collection is scored by each engine, from archives and from Parquet, beside a plain loop over it.

    python -m docs.experiments.collection_engines

Small JPEG images are drawn into forty archives and into as many Parquet files. The plain loop reads the archives one
after the other and calls `UniSimScorer` batch by batch; it writes nothing. All take their turns, in rounds, and each
round gives one ratio to the loop. A first round over few images, which is not timed, loads the model and starts the
cluster of Ray, which takes part where it is installed; its actors, which load the model anew for each job, are timed.
The scores are compared, too, in the order in which they are written.
"""

from __future__ import annotations

import argparse
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet

from unisim_metrics import UniSimScorer, score_collection

from .collections import SHARDS, write_archives
from .soft_colours import draw_jpegs

WIDTH, HEIGHT = 320, 240
LOOP = "a plain loop over the archives"
# Drawn once, and stored over and over.
_DIFFERENT = 320


def write_tables(archives: Path, folder: Path) -> None:
    """Write the images of each archive into a Parquet file."""
    folder.mkdir()
    for archive in sorted(archives.iterdir()):
        table = pyarrow.table({"image": pyarrow.array(list(read_archive(archive)), pyarrow.binary())})
        parquet.write_table(table, folder / f"{archive.stem}.parquet", row_group_size=256)


def read_archive(archive: Path) -> Iterator[bytes]:
    """Yield what an archive holds."""
    with tarfile.open(archive) as opened:
        for member in opened:
            content = opened.extractfile(member)
            assert content is not None
            yield content.read()


def score_in_a_loop(archives: Path, scorer: UniSimScorer, batch_size: int) -> NDArray[np.float32]:
    """Score archives as one would without more ado."""
    images = (image for archive in sorted(archives.iterdir()) for image in read_archive(archive))
    scores = []
    while batch := list(islice(images, batch_size)):
        scores.append(scorer({"image": batch})["unisim_score"])
    return np.concatenate(scores)


def written_scores(folder: Path) -> NDArray[np.float32]:
    """Read the scores of a folder, shard after shard."""
    tables = [
        parquet.read_table(shard, columns=["unisim_score"]) for shard in sorted(folder.glob("*.parquet"))
    ]
    return np.asarray(pyarrow.concat_tables(tables)["unisim_score"])


def start_nodes(count: int) -> Callable[[], None]:
    """Start and connect a cluster of Ray on this machine, each node of one core; what ends it."""
    ray, utils = import_module("ray"), import_module("ray.cluster_utils")
    cluster = utils.Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    for _ in range(count - 1):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def end() -> None:
        ray.shutdown()
        cluster.shutdown()

    return end


def engines(wanted: Sequence[str]) -> list[str]:
    """The engines that can be timed here."""
    return [engine for engine in wanted if engine != "ray" or find_spec("ray") is not None]


def ways_to_score(
    folder: Path, scorer: UniSimScorer, batch_size: int, names: Sequence[str]
) -> dict[str, Callable[[Path], NDArray[np.float32] | None]]:
    """The loop and the engines over what lies in a folder: functions of the output, which engines write."""
    archives, tables = folder / "tars", folder / "tables"

    def run(engine: Any, inputs: str, output: Path) -> None:
        score_collection(inputs, output, scorer, engine=engine)

    ways: dict[str, Callable[[Path], NDArray[np.float32] | None]] = {
        LOOP: lambda _: score_in_a_loop(archives, scorer, batch_size)
    }
    for engine in names:
        for kind, inputs in (("archives", f"{archives}/*.tar"), ("Parquet", f"{tables}/*.parquet")):
            ways[f"`{engine}`, {kind}"] = lambda output, engine=engine, inputs=inputs: run(
                engine, inputs, output
            )  # type: ignore[misc]
    return ways


def compare(
    few: Path, folder: Path, scorer: UniSimScorer, batch_size: int, names: Sequence[str], rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Time the loop and the engines in turns, once each has warmed up on few images.

    Returns:
        Seconds by name, and the largest difference of a score to the loop's.
    """
    for number, way in enumerate(ways_to_score(few, scorer, batch_size, names).values()):
        way(few / f"scored-{number}")
    ways = ways_to_score(folder, scorer, batch_size, names)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    differences = dict.fromkeys(ways, 0.0)
    expected: NDArray[np.float32] | None = None
    for turn in range(rounds):
        for number, (name, way) in enumerate(ways.items()):
            output = folder / f"scored-{turn}-{number}"
            start = time.perf_counter()
            scores = way(output)
            seconds[name].append(time.perf_counter() - start)
            found = written_scores(output) if scores is None else scores
            expected = found if expected is None else expected
            differences[name] = max(differences[name], float(np.abs(found - expected).max()))
    return seconds, differences


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="unisim-mini")
    parser.add_argument("--device")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--engines", nargs="*", choices=["local", "ray"], default=["local", "ray"])
    parser.add_argument("--nodes", type=int, help="give Ray a cluster of so many nodes of one core")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        if options.nodes is not None:
            stack.callback(start_nodes(options.nodes))
        files = draw_jpegs(min(options.images, _DIFFERENT), (WIDTH, HEIGHT), quality=85)
        few, folder = Path(name, "few"), Path(name, "all")
        for place, count in ((few, min(options.images, SHARDS)), (folder, options.images)):
            place.mkdir()
            write_archives(place / "tars", files, count)
            write_tables(place / "tars", place / "tables")
        scorer = UniSimScorer(options.model, device=options.device, batch_size=options.batch_size)
        names = engines(options.engines)
        seconds, differences = compare(few, folder, scorer, options.batch_size, names, options.rounds)
    print(f"{options.images:,} images of {WIDTH} × {HEIGHT} in {SHARDS} files\n")
    print(
        "| way | images a second | beside the loop, by rounds | largest difference |\n| --- | --- | --- | --- |"
    )
    for name, taken in seconds.items():
        shares = [loop / each for loop, each in zip(seconds[LOOP], taken, strict=True)]
        rate = options.images / statistics.median(taken)
        row = f"| {name} | {rate:.0f} | {', '.join(f'{share:.2f}' for share in shares)} |"
        print(f"{row} {differences[name]:.1g} |")


if __name__ == "__main__":
    main()
