"""What the tests of the benchmark's runner share: sets whose pictures tell apart, and result files without times."""

from __future__ import annotations

from pathlib import Path

import benchmark_data
from oracle import photos

from unisim_metrics.benchmark import load_dataset
from unisim_metrics.benchmark.samples import Sample


def write_distinct_sets(root: Path) -> Path:
    """Write some sets in their real layout, with pictures of noise: no two are alike."""
    for write in (
        benchmark_data.write_koniq,
        benchmark_data.write_agiqa,
        benchmark_data.write_hpdv2,
        benchmark_data.write_nights,
        benchmark_data.write_cifar,
        benchmark_data.write_sice,
        benchmark_data.write_revisitop,
    ):
        write(root)
    # All but those of SICE, whose brightness counts.
    paths = sorted(
        path for path in root.rglob("*.*") if path.suffix in (".jpg", ".png") and "sice" not in path.parts
    )
    for path, photo in zip(paths, photos(len(paths), seed=5), strict=True):
        photo.save(path, quality=95)
    return root


def draw(name: str | Path, root: Path, n: int | None = None) -> list[Sample]:
    """Return the samples of a set."""
    return load_dataset(name, root).samples(n=n)


def timeless(results: Path) -> dict[str, str]:
    """Return the result files of all models, by path, without what differs from run to run and stands at the end."""
    files = {path.relative_to(results).as_posix(): path for path in results.glob("*/*/*.json")}
    return {name: path.read_text(encoding="utf-8").split('  "run": {')[0] for name, path in files.items()}
