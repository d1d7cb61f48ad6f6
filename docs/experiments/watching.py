"""How often a watched reward warns, where nothing is wrong and where something is, in one table.

    python -m docs.experiments.watching

Scores are drawn, not made from images. A call holds 64 of them, eight for each of eight new prompts; a score is the sum
of what its prompt gives and what the image itself gives, both normal. Standard deviations are those of single images.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from unisim_metrics.integrations.watching import Drift, Watch

PROMPTS, IMAGES = 8, 8
HEADER = """\
| over the run | of the variance by prompts | runs that warn | after images |
| --- | --- | --- | --- |"""


class Run(NamedTuple):
    """What happens in a run: changes from first to last image, in standard deviations, and how its noise correlates."""

    name: str
    reward: float = 0.0
    judge: float = 0.0
    correlation: float = 0.0


RUNS = (
    Run("nothing changes"),
    Run("nothing changes, reward and judge correlate by −0.8", correlation=-0.8),
    Run("the reward rises by 1", reward=1.0),
    Run("the reward rises by 1, the judge falls by 0.5", reward=1.0, judge=-0.5),
    Run("the reward rises by 1, the judge falls by 1", reward=1.0, judge=-1.0),
)


def first_warning(
    run: Run, share: float, count: int, drift: Drift, random: np.random.Generator
) -> int | None:
    """Return after how many images a run of `count` images warns; None if it does not.

    Args:
        run: What happens.
        share: The share of the variance that the prompts make, in [0, 1].
        count: The images of the run.
        drift: A detector that has seen nothing.
        random: Where the noise comes from.
    """
    mix: np.ndarray = np.linalg.cholesky([[1.0, run.correlation], [run.correlation, 1.0]]).T
    for start in range(0, count, PROMPTS * IMAGES):
        of_prompts = np.sqrt(share) * random.standard_normal((PROMPTS, 2)) @ mix
        of_images = np.sqrt(1 - share) * random.standard_normal((PROMPTS * IMAGES, 2)) @ mix
        means = np.array([run.reward, run.judge]) * start / count
        scores = means + of_prompts.repeat(IMAGES, axis=0) + of_images
        names = [str(start + place) for place in range(PROMPTS) for _ in range(IMAGES)]
        rewards, judged = scores.T.tolist()
        if drift.update(rewards, judged, names) is not None:
            return start + PROMPTS * IMAGES
    return None


def measure(
    run: Run, share: float, *, runs: int, windows: int, window: int, seed: int = 0
) -> list[int | None]:
    """Return the first warning of each of several runs, of so many windows each; see `first_warning`."""
    settings = Watch({"judge": None}, window=window)
    random = np.random.default_rng(seed)
    return [
        first_warning(
            run, share, windows * window, Drift(settings.window, settings.rise, settings.fall), random
        )
        for _ in range(runs)
    ]


def row(run: Run, share: float, warnings: list[int | None]) -> str:
    """Write a row of the table; the last column is the median of the runs that warn."""
    found = [count for count in warnings if count is not None]
    after = f"{np.median(found):.0f}" if found else "–"
    return f"| {run.name} | {share:.0%} | {len(found)} of {len(warnings)} | {after} |"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=100, help="runs a row")
    parser.add_argument("--windows", type=int, default=50, help="windows a run")
    parser.add_argument("--window", type=int, default=1024, help="images a window")
    arguments = parser.parse_args()
    print(HEADER)
    for run in RUNS:
        for share in (0.0, 0.5):
            warnings = measure(
                run, share, runs=arguments.runs, windows=arguments.windows, window=arguments.window
            )
            print(row(run, share, warnings), flush=True)


if __name__ == "__main__":
    main()
