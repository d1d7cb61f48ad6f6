"""`unisim compare`: which of several runs scores higher, from the files of scores that `unisim score` wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import options as opt
from unisim_metrics.cli.comparing.contest import Contest, check_confidence
from unisim_metrics.cli.comparing.report.page import check_report, write_report
from unisim_metrics.cli.output import Output
from unisim_metrics.cli.runs import (
    Matched,
    PairBy,
    Run,
    check_signatures,
    match_runs,
    read_run,
    shorten,
)
from unisim_metrics.cli.terminal import print_note

_UNITS = {PairBy.TEXT: "prompts", PairBy.REFERENCE: "references", PairBy.NAME: "images"}


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...", help="Two or more files of scores: .json or .csv, written by `unisim score`."
        ),
    ],
    pair_by: Annotated[
        PairBy | None,
        typer.Option(
            help="What rows of the files are paired by: text, reference, or name (of the image, without its suffix)."
            " If left out the first of these that tells all rows apart and that the files have in common.",
            show_default=False,
        ),
    ] = None,
    confidence: opt.ConfidenceOption = 0.95,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
    guard_formulas: opt.GuardOption = False,
    report: opt.ReportOption = None,
) -> None:
    """Compare runs on what they have in common: who wins, by how much, and how sure that is.

    [bold]unisim compare a.json b.json[/]  ·  [bold]unisim compare a.csv b.csv c.csv --pair-by name[/]
    """
    destination = Output(form, as_json, as_csv, output, guard_formulas)
    destination.check()
    check_confidence(confidence)
    check_report(report)
    if len(files) < 2:
        raise ValueError(f"At least two files of scores must be given, but got {files[0]} alone.")
    path, count = Counter(file.resolve() for file in files).most_common(1)[0]
    if count > 1:
        raise ValueError(f"The files of scores must differ, but {path} is given {count} times.")
    runs = [read_run(file) for file in files]
    check_signatures(runs)
    matched = match_runs(runs, pair_by)
    contest = _contest(runs, matched, confidence)
    names = contest.names
    for name, labels in zip(names, matched.unmatched, strict=True):
        if labels:
            print_note(f"{name}: {len(labels)} without a counterpart in all others: {shorten(labels)}.")
    if matched.unscored:
        print_note(
            f"{len(matched.unscored)} left out, without a score in one run: {shorten(matched.unscored)}."
        )
    left_out = sum(map(len, matched.unmatched)) + len(matched.unscored)
    destination.write(
        contest.result(
            {contest.unit: len(matched.labels), "left_out": left_out},
            {
                "paired_by": matched.by.value,
                "unmatched": dict(zip(names, matched.unmatched, strict=True)),
                "unscored": matched.unscored,
            },
        )
    )
    if report is not None:
        write_report(report, contest, left_out)


def _contest(runs: Sequence[Run], matched: Matched, confidence: float) -> Contest:
    import numpy as np

    scores = np.array([[entry.score for entry in entries] for entries in matched.entries], dtype=np.float64)
    groups = [entries[0].pair.reference for entries in matched.entries]
    stems = [run.path.stem for run in runs]
    return Contest(
        "run",
        stems if len(set(stems)) == len(stems) else [str(run.path) for run in runs],
        _UNITS[matched.by],
        matched.labels,
        [[entry.pair.candidate for entry in entries] for entries in matched.entries],
        scores,
        None if None in groups else [str(group) for group in groups],
        runs[0].signature,
        confidence,
    )
