"""How fast a collection is scored by each engine, from archives and from Parquet, beside a plain loop over it.

    python -m docs.experiments.collection_engines

Small JPEG images are drawn into forty archives and into as many Parquet files. The plain loop reads the archives one
after the other and calls `UniSimScorer` batch by batch; it writes nothing. All take their turns, in rounds, and each
round gives one ratio to the loop. A first round over few images, which is not timed, loads the model and starts the
cluster of Ray, which takes part where it is installed; its actors, which load the model anew for each job, are timed.
"""

from __future__ import annotations

import argparse
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
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


def score_in_a_loop(archives: Path, scorer: UniSimScorer, batch_size: int) -> int:
    """Score archives as one would without more ado; how many rows have a score."""
    images = (image for archive in sorted(archives.iterdir()) for image in read_archive(archive))
    scored = 0
    while batch := list(islice(images, batch_size)):
        scored += sum(not reason for reason in scorer({"image": batch})["unisim_error"])
    return scored


def engines(wanted: Sequence[str]) -> list[str]:
    """The engines that can be timed here."""
    return [engine for engine in wanted if engine != "ray" or find_spec("ray") is not None]


def ways_to_score(
    folder: Path, scorer: UniSimScorer, batch_size: int, names: Sequence[str]
) -> dict[str, Callable[[Path], int]]:
    """The loop and the engines over what lies in a folder, functions of the output that count the scored rows."""
    archives, tables = folder / "tars", folder / "tables"

    def run(engine: Any, inputs: str, output: Path) -> int:
        report = score_collection(inputs, output, scorer, engine=engine)
        return report.rows - report.errors

    ways: dict[str, Callable[[Path], int]] = {LOOP: lambda _: score_in_a_loop(archives, scorer, batch_size)}
    for engine in names:
        for kind, inputs in (("archives", f"{archives}/*.tar"), ("Parquet", f"{tables}/*.parquet")):
            ways[f"`{engine}`, {kind}"] = lambda output, engine=engine, inputs=inputs: run(
                engine, inputs, output
            )  # type: ignore[misc]
    return ways


def compare(
    few: Path, folder: Path, scorer: UniSimScorer, batch_size: int, names: Sequence[str], rounds: int
) -> dict[str, list[float]]:
    """Time the loop and the engines in turns, once each has warmed up on few images; seconds by name."""
    for number, way in enumerate(ways_to_score(few, scorer, batch_size, names).values()):
        way(few / f"scored-{number}")
    ways = ways_to_score(folder, scorer, batch_size, names)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    counts = set()
    for turn in range(rounds):
        for number, (name, way) in enumerate(ways.items()):
            start = time.perf_counter()
            counts.add(way(folder / f"scored-{turn}-{number}"))
            seconds[name].append(time.perf_counter() - start)
    assert len(counts) == 1, counts
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="unisim-mini")
    parser.add_argument("--device")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--engines", nargs="*", choices=["local", "ray"], default=["local", "ray"])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        files = draw_jpegs(min(options.images, _DIFFERENT), (WIDTH, HEIGHT), quality=85)
        few, folder = Path(name, "few"), Path(name, "all")
        for place, count in ((few, min(options.images, SHARDS)), (folder, options.images)):
            place.mkdir()
            write_archives(place / "tars", files, count)
            write_tables(place / "tars", place / "tables")
        scorer = UniSimScorer(options.model, device=options.device, batch_size=options.batch_size)
        names = engines(options.engines)
        seconds = compare(few, folder, scorer, options.batch_size, names, options.rounds)
    print(f"{options.images:,} images of {WIDTH} × {HEIGHT} in {SHARDS} files\n")
    print("| way | images a second | beside the loop, by rounds |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        shares = [loop / each for loop, each in zip(seconds[LOOP], taken, strict=True)]
        rate = options.images / statistics.median(taken)
        print(f"| {name} | {rate:.0f} | {', '.join(f'{share:.2f}' for share in shares)} |")


if __name__ == "__main__":
    main()
