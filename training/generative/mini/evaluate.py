"""How well a generative model judges degrees of distortion on photos that no training step saw, and how evenly.

python -m unisim_metrics.training.generative.mini.evaluate MODEL --data DATA [--debias]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unisim_metrics import UniSimRanking, load_model
from unisim_metrics.images import load_image
from unisim_metrics.models import PerceptualModel
from unisim_metrics.signature import signature
from unisim_metrics.statistics.intervals import estimate_share
from unisim_metrics.tasks import Task

from ...distortions import DISTORTIONS, LEVELS
from ...mini import photos

TASKS: tuple[Task, ...] = ("quality", "image-image")


@dataclass(frozen=True)
class SeverityPair:
    """A photo and two degrees of one distortion of it.

    Attributes:
        photo: The photo.
        mild: The better, and closer, one.
        severe: The other.
    """

    photo: Tensor
    mild: Tensor
    severe: Tensor


def severity_pairs(root: Path, pairs: int, seed: int = 0) -> Iterator[SeverityPair]:
    """Pairs of two levels of one distortion, on whole held-out BSDS photos; photos and distortions take turns.

    Args:
        root: The data root, see `unisim_metrics.training.mini.photos`.
        pairs: How many.
        seed: Of the levels and of the noise.
    """
    rng = np.random.default_rng((seed, 5))
    paths = itertools.cycle(photos.bsds_photos(root, held_out=True))
    names = itertools.cycle(DISTORTIONS)
    for path, name in itertools.islice(zip(paths, names, strict=False), pairs):
        photo = load_image(path)
        mild, severe = sorted(rng.choice(len(LEVELS), size=2, replace=False))
        noise = int(rng.integers(2**31))
        degrees = [
            DISTORTIONS[name](photo, LEVELS[level], np.random.default_rng(noise)) for level in (mild, severe)
        ]
        yield SeverityPair(photo, *degrees)


def evaluate(
    model: PerceptualModel, root: Path, pairs: int = 300, seed: int = 0, batch: int = 20
) -> dict[str, Any]:
    """Ask about each pair twice through `UniSimRanking`, the right alternative first and second.

    Args:
        model: The model.
        root: The data root.
        pairs: How many pairs.
        seed: Of the pairs.
        batch: Pairs that are asked about at a time.

    Returns:
        For each task the accuracy with its 95 % interval, where the right alternative stood in either place in turn,
        and the accuracies where it stood first and second.
    """
    figures: dict[str, Any] = {}
    for task in TASKS:
        in_turn = UniSimRanking(model, task=task)
        by_place = (UniSimRanking(model, task=task), UniSimRanking(model, task=task))
        drawn = severity_pairs(root, pairs, seed)
        place = 0
        while part := list(itertools.islice(drawn, batch)):
            for first, ranking in enumerate(by_place):
                _ask(ranking, part, [first] * len(part))
            _ask(in_turn, part, [(place + index) % 2 for index in range(len(part))])
            place += len(part)
        accuracy = float(in_turn.compute()["accuracy"])
        estimate = estimate_share(round(accuracy * pairs), pairs)
        figures[task] = {
            "accuracy": round(accuracy, 4),
            "interval": [round(estimate.low, 4), round(estimate.high, 4)],
            "right first": round(float(by_place[0].compute()["accuracy"]), 4),
            "right second": round(float(by_place[1].compute()["accuracy"]), 4),
            "n": pairs,
        }
    return figures


def _ask(ranking: UniSimRanking, pairs: list[SeverityPair], labels: list[int]) -> None:
    groups = [
        [pair.mild, pair.severe] if label == 0 else [pair.severe, pair.mild]
        for pair, label in zip(pairs, labels, strict=True)
    ]
    references = [pair.photo for pair in pairs] if ranking.task == "image-image" else None
    ranking.update(groups, references, choices=torch.tensor(labels))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="what load_model takes")
    parser.add_argument("--data", type=Path, required=True, help="data root, see photos.py")
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debias", action="store_true", help="average over the orders of the alternatives")
    arguments = parser.parse_args()
    model: Any = load_model(arguments.model)
    if arguments.debias:
        model.debias = True
    print(signature(model, None))
    print(json.dumps(evaluate(model, arguments.data, arguments.pairs, arguments.seed), indent=2))


if __name__ == "__main__":
    main()
