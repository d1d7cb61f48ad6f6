"""How often the intervals of a comparison hold the true figure, and how often equals are told apart, by simulation.

    python -m docs.experiments.coverage

Three competitors get scores with Gumbel noise, so that their wins follow Bradley and Terry. Of the prompts that share a
text, half have the same noise. Each line of the table is of as many simulated comparisons as `--rounds` says, and of
ten times as many tests of two equals; its figures are per cent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from unisim_metrics.statistics.clusters import Clusters
from unisim_metrics.statistics.differences import estimate_mean_difference
from unisim_metrics.statistics.intervals import Estimate
from unisim_metrics.statistics.verdict import judge
from unisim_metrics.statistics.wins import cluster_sign_test_p

STRENGTHS = np.array([0.5, 0.1, -0.6])
SIZES = (50, 400, 5000)
COPIES = (1, 2, 5)
TESTS = 10
COLUMNS = ("win rate", "wins", "difference", "strength", "false alarms, wins", "false alarms, difference")


def draw(
    strengths: np.ndarray, prompts: int, copies: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[int]]:
    """Return the scores of competitors `[prompts, N]` and which prompts share a text, so many each."""
    labels = np.arange(prompts) // copies
    own, shared = (rng.gumbel(size=(prompts, len(strengths))) for _ in range(2))
    takes_part = rng.random((prompts, 1)) < 0.5
    noise = np.where(takes_part, shared[labels], own) if copies > 1 else own
    return strengths + noise, labels.tolist()


def measure(prompts: int, copies: int, rounds: int, seed: int = 0) -> list[float]:
    """Return the shares of one line of the table."""
    rng = np.random.default_rng([seed, prompts, copies])
    chances = np.exp(STRENGTHS)
    held: dict[str, list[bool]] = {name: [] for name in COLUMNS}

    def note(name: str, found: Estimate | None, truth: float) -> None:
        if found is not None:
            held[name].append(found.low <= truth <= found.high)

    for _ in range(rounds):
        verdict = judge(*draw(STRENGTHS, prompts, copies, rng))
        for standing in verdict.standings:
            note("win rate", standing.win_rate, chances[standing.index] / chances.sum())
            note("strength", standing.strength, STRENGTHS[standing.index] - STRENGTHS.mean())
        for duel in verdict.duels:
            pair = [duel.first, duel.second]
            note("wins", duel.share, chances[duel.first] / chances[pair].sum())
            note("difference", duel.difference, STRENGTHS[duel.first] - STRENGTHS[duel.second])
        # Tests are quicker than intervals: more of them.
        for _ in range(TESTS):
            scores, labels = draw(np.zeros(2), prompts, copies, rng)
            gaps, clusters = scores[:, 0] - scores[:, 1], Clusters(np.array(labels))
            margins = clusters.totals(np.sign(gaps)).astype(np.int64)
            held["false alarms, wins"].append(cluster_sign_test_p(margins) <= 0.05)
            held["false alarms, difference"].append(estimate_mean_difference(gaps, clusters).p <= 0.05)
    return [float(np.mean(held[name])) for name in COLUMNS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Coverage of the intervals of a comparison, by simulation.")
    parser.add_argument("--rounds", type=int, default=1000, help="simulated comparisons a line")
    parser.add_argument("--prompts", type=int, nargs="+", default=SIZES, help="how many prompts")
    parser.add_argument("--copies", type=int, nargs="+", default=COPIES, help="how many of them share a text")
    chosen = parser.parse_args(arguments)
    print(f"| prompts | that share a text | {' | '.join(COLUMNS)} |\n|{'---:|' * (len(COLUMNS) + 2)}")
    for prompts in chosen.prompts:
        for copies in chosen.copies:
            shares = measure(prompts, copies, chosen.rounds)
            shown = " | ".join(f"{100 * share:.1f}" for share in shares)
            print(f"| {prompts} | {copies} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
