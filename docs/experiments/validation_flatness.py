"""How often a curve is called flat, while it rises and when it does not any more, in one table.

    python -m docs.experiments.validation_flatness

Scores are drawn, not made from images. From one validation to the next a prompt's mean moves by the rise that all
share and by a normal step of its own, and each of its pictures has normal noise besides. Rises are in standard
deviations of how the means of single prompts change from one validation to the next.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from unisim_metrics.integrations.validation.results import find_flatness
from unisim_metrics.statistics.clusters import Clusters

SEEDS, VALIDATIONS = 4, 20
RISES = (0.0, 0.1, 0.25, 0.5)
HEADER = """\
| prompts | rise each validation | flat at the first check | ended in 20 validations |
| --- | --- | --- | --- |"""


def draw_curve(rise: float, prompts: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw the scores of a run, `[validations, prompts * 4]`.

    Args:
        rise: How much the mean rises from one validation to the next.
        prompts: How many prompts there are.
        random: Where the noise comes from.
    """
    # Of the difference of two validations, whose variance is 1, a half comes from the prompt's own step and a half from
    # the pictures of both.
    steps = rise + np.sqrt(0.5) * random.standard_normal((VALIDATIONS, prompts))
    noise = np.sqrt(0.25 * SEEDS) * random.standard_normal((VALIDATIONS, prompts, SEEDS))
    curve: NDArray[np.float64] = (np.cumsum(steps, axis=0)[:, :, None] + noise).reshape(VALIDATIONS, -1)
    return curve


def measure(rise: float, prompts: int, runs: int, patience: int, seed: int = 0) -> tuple[float, float]:
    """Return how often the first check says flat, and how often any of a run does; see `draw_curve`."""
    random = np.random.default_rng(seed)
    clusters = Clusters(np.repeat(np.arange(prompts), SEEDS))
    first = ended = 0
    for _ in range(runs):
        curve = list(enumerate(draw_curve(rise, prompts, random)))
        for last in range(patience + 1, VALIDATIONS + 1):
            found = find_flatness(curve[:last], patience, clusters, 0.95)
            if found is not None and found.is_flat:
                first += last == patience + 1
                ended += 1
                break
    return first / runs, ended / runs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--patience", type=int, default=3)
    arguments = parser.parse_args()
    print(HEADER)
    for prompts in (16, 64):
        for rise in RISES:
            first, ended = measure(rise, prompts, arguments.runs, arguments.patience)
            print(f"| {prompts} | {rise:g} | {100 * first:.1f} % | {100 * ended:.1f} % |")


if __name__ == "__main__":
    main()
