"""What the authors' protocol changes in the samples, from annotations alone.

python -m docs.experiments.protocols --root DATA

A set of which an annotation file is missing is left out. No image is opened, so that SICE is left out too.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unisim_metrics.benchmark.datasets import PooledDataset, load_dataset
from unisim_metrics.benchmark.datasets.agiqa import Agiqa3kAlignment
from unisim_metrics.benchmark.datasets.annotations import read_csv
from unisim_metrics.benchmark.samples import Candidate
from unisim_metrics.statistics.stream import Stream

__all__ = ["Judged", "Pools", "compare_pools", "count_ties", "judge_agiqa", "main"]

SETS = ("imagereward", "agiqa-3k-alignment", "cd-coco", "polaris", "pieapp-iqa")
# In points of the alignment score: a judge that is about as often right as the models of the paper.
NOISE = 1.0


@dataclass(frozen=True)
class Pools:
    """How many choices a set offers by each protocol.

    Attributes:
        dataset: Its id.
        paper: By the paper's description.
        authors: By the authors' code, repeats counted.
        shared: Distinct choices of both.
    """

    dataset: str
    paper: int
    authors: int
    shared: int


@dataclass(frozen=True)
class Judged:
    """How often a simulated judge is right about the samples of AGIQA's alignment.

    Attributes:
        paper: By the paper's description, in [0, 1].
        authors: By the authors' code.
    """

    paper: float
    authors: float


def compare_pools(root: Path, names: Sequence[str] = SETS) -> list[Pools]:
    """Compare what may be drawn by the two protocols, of those sets whose annotations are under the root."""
    found = []
    for name in names:
        pools: list[Sequence[Candidate]] = []
        for protocol in ("paper", "authors"):
            dataset = load_dataset(name, root, protocol)
            if not isinstance(dataset, PooledDataset) or not all(
                (root / file).exists() for file in dataset.files["test"] if "*" not in file
            ):
                break
            pools.append(dataset.pool("test"))
        else:
            paper, authors = pools
            found.append(Pools(name, len(paper), len(authors), len(set(paper) & set(authors))))
    return found


def judge_agiqa(root: Path, noise: float = NOISE, seed: int = 0) -> Judged:
    """Ask a judge who sees each image's alignment score through Gaussian noise, by both protocols."""
    rows = list(read_csv(root / "agiqa-3k" / "data.csv", ("name", "mos_align")))
    words = Stream("agiqa-3k", "judge", seed).words(2 * len(rows), "noise").reshape(2, -1) / 2.0**64
    # Box and Muller's way from uniform to normal numbers.
    normal = np.sqrt(-2 * np.log1p(-words[0])) * np.cos(2 * np.pi * words[1])
    seen = {
        row.file("name"): row.number("mos_align") + noise * error
        for row, error in zip(rows, normal, strict=True)
    }
    shares = []
    for protocol in ("paper", "authors"):
        dataset = load_dataset(Agiqa3kAlignment.id, root, protocol)
        right = []
        for sample in dataset.samples(seed=seed):
            scores = [seen[Path(item).name] for item in sample.alternatives]
            right.append(int(np.argmax(scores)) == sample.label)
        shares.append(float(np.mean(right)))
    return Judged(*shares)


def count_ties(root: Path, score: str) -> tuple[int, int]:
    """Return how many pairs of images of one AGIQA-3K prompt have equal scores, and how many pairs there are."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in read_csv(root / "agiqa-3k" / "data.csv", ("prompt", score)):
        scores[row.text("prompt")].append(row.number(score))
    pairs = [a == b for values in scores.values() for a, b in itertools.combinations(values, 2)]
    return sum(pairs), len(pairs)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="data root")
    root = parser.parse_args().root
    print("| set | choices, paper | choices, authors | in both |\n| --- | --- | --- | --- |")
    for pools in compare_pools(root):
        print(f"| {pools.dataset} | {pools.paper:,} | {pools.authors:,} | {pools.shared:,} |")
    if (root / "agiqa-3k" / "data.csv").is_file():
        judged = judge_agiqa(root)
        print(
            f"\nAGIQA-3K, alignment, a judge with noise {NOISE}:"
            f" {judged.paper:.1%} (paper), {judged.authors:.1%} (authors)"
        )
        for score in ("mos_align", "mos_quality"):
            tied, pairs = count_ties(root, score)
            print(f"AGIQA-3K, {score}: {tied:,} of {pairs:,} pairs are tied")


if __name__ == "__main__":
    main()
