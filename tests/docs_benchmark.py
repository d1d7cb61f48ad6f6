"""What the pages on the benchmark take for granted: a data root, and fewer samples where all would take minutes.

Figures that these pages print are compared to the digit. They rest on choices alone, and draws and sums are the same
on any machine: so another processor prints the same as long as it makes the same choices. The two best scores of a
sample differ by 2e-4 or more in every set that a page prints, a hundred times what float32 leaves to the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import benchmark_data
import pytest

from unisim_metrics.benchmark.datasets import registry

# What a command is told, too, unless the page itself says which sets it takes.
_FEWER = {
    ("unisim", "bench", "demo"): ("--dataset", "cd-coco"),
    ("unisim", "bench", "run", "unisim-mini"): ("--n", "4"),
    ("python", "-m", "docs.experiments.speed.benchmark"): ("--rounds", "1", "--dataset", "nights"),
}
_CHOICES = ("-d", "--dataset", "--task", "--n")


def write_data(root: Path) -> Path:
    """Write all sets in small and in their real layouts, and a set of one's own."""
    benchmark_data.write_benchmark(root)
    benchmark_data.write_imagereward(root)
    for name in ("won", "lost"):
        benchmark_data.write_image(root / "posters" / "images" / f"{name}.png", value=len(name))
    (root / "posters" / "votes.csv").write_text("won.png,lost.png\n")
    return root


def shorten(words: Sequence[str]) -> list[str]:
    """Add what makes a command of the benchmark take seconds."""
    for start, more in _FEWER.items():
        if tuple(words[: len(start)]) == start and not set(_CHOICES).intersection(words):
            return [*words, *more]
    return list(words)


def stand_in(data: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put the data root into a page's folder; sets that the page registers are forgotten after it."""
    (folder / "DATA").symlink_to(data)
    patch.setattr(registry, "_DATASETS", dict(registry._DATASETS))
