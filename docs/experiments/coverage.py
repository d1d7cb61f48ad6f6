"""How often intervals hold the true figure, and how often tests see a difference where there is none, by simulation.

    python -m docs.experiments.coverage

Samples are drawn again and again from models of which the true figure is known: see `coverage_cases`. Intervals and
tests are those that the commands print; only averages of sets are read from fewer draws, which fall on the level all
the same. Prints two tables, of intervals and of tests, in per cent; a star marks what is outside the target.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

from .coverage_cases import CASES, SIZES, Case, Row

__all__ = ["FALSE_ALARMS", "TARGET", "main", "measure", "tabulate"]

TARGET = (0.93, 0.97)
FALSE_ALARMS = 0.055
# Many samples take long: of so many times fewer repetitions.
_FEWER = {400: 2, 5000: 4}


def measure(case: Case, n: int, repetitions: int, seed: int = 0) -> dict[Row, float]:
    """Return how often each interval of a case holds the truth, or each test sees a difference, in [0, 1]."""
    rng = np.random.default_rng([seed, n])
    found = np.mean([case.trial(rng, n) for _ in range(repetitions)], axis=0)
    return dict(zip(case.rows, found.tolist(), strict=True))


def tabulate(figures: Sequence[tuple[Row, Sequence[float | None]]], sizes: Sequence[int]) -> str:
    """Return figures as a table of Markdown, in per cent, with a star where they miss the target."""
    lines = [
        f"| of | samples | {' | '.join(f'n = {n:,}' for n in sizes)} |",
        f"|---|---|{'--:|' * len(sizes)}",
    ]
    for row, shares in figures:
        cells = ("–" if share is None else f"{100 * share:.1f}{_mark(row, share)}" for share in shares)
        lines.append(f"| {row.of} | {row.samples} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=2000,
        help="draws of each case with 50 samples, half as many with 400, a quarter with 5,000",
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of samples")
    parser.add_argument("--only", default="", help="cases with a row in which this stands")
    options = parser.parse_args(arguments)
    found: dict[Row, list[float | None]] = {}
    start = time.perf_counter()
    for case in CASES:
        if not any(options.only in f"{row.of}, {row.samples}" for row in case.rows):
            continue
        for n in options.sizes:
            # Sizes of one's own are tried on all.
            is_asked = n in case.sizes or n not in SIZES
            shares = (
                measure(case, n, -(-options.repetitions // _FEWER.get(n, 1)))
                if is_asked
                else dict.fromkeys(case.rows)
            )
            for row, share in shares.items():
                found.setdefault(row, []).append(share)
        print(
            f"{time.perf_counter() - start:.0f} s: {case.rows[0].of}, {case.rows[0].samples}", file=sys.stderr
        )
    for is_test in (False, True):
        figures = [(row, shares) for row, shares in found.items() if row.is_test == is_test]
        if figures:
            print(tabulate(figures, options.sizes), end="\n\n")
    return 0


def _mark(row: Row, share: float) -> str:
    missed = share > FALSE_ALARMS if row.is_test else not TARGET[0] <= share <= TARGET[1]
    return "*" if missed else ""


if __name__ == "__main__":
    raise SystemExit(main())
