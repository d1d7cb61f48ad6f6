"""`unisim calibrate`: what scores of a model mean, from a reference sample and from pairs that people judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import check_folder
from unisim_metrics.cli.score import find_pairs, score_pairs
from unisim_metrics.cli.scoring import Scoring
from unisim_metrics.cli.terminal import print_note, print_unreadable

if TYPE_CHECKING:
    from unisim_metrics.benchmark.datasets import Split
    from unisim_metrics.calibration import Preference, ReferenceSample


def calibrate(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="The reference sample, as `unisim score` takes it: images, folders, globs, or one table of pairs.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", dir_okay=False)] = Path(
        "calibration.json"
    ),
    text: opt.TextOption = None,
    reference: opt.ReferenceOption = None,
    task: opt.TaskOption = None,
    method: opt.MethodOption = "naive",
    model: opt.ModelOption = opt.DEFAULT_MODEL,
    device: opt.DeviceOption = None,
    batch_size: opt.BatchSizeOption = None,
    resample: opt.ResampleOption = "bicubic",
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="A set of pairs that people judged: of the benchmark, or a .jsonl or .parquet file of samples.",
            autocompletion=completion.sets,
        ),
    ] = None,
    root: opt.RootOption = Path("."),
    split: opt.SplitOption = "test",
    n: Annotated[
        int | None, typer.Option(min=1, help="Samples of the set; as many as in the paper if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which draw of its samples.")] = 0,
) -> None:
    """Write down what scores of a model mean, for `unisim score --calibration` and `unisim rank --calibration`.

    Of images or pairs the scores are kept: scores get percentiles among them. On a set of the benchmark (it needs the
    extra `benchmark`) the chance that people prefer one of two is fitted to the difference of their scores.

    [bold]unisim calibrate references/ -o mine.json[/]  ·  [bold]unisim calibrate -d hpdv2 --root DATA -o mine.json[/]
    """
    from unisim_metrics.calibration import Calibration, write_calibration

    if not inputs and dataset is None:
        raise ValueError(
            "A reference sample must be given (images, folders or a table of pairs), or --dataset."
        )
    check_folder(output, "--output")
    scoring = Scoring(model, task, method, device, batch_size, resample)
    scoring.check()
    sample = _sample(inputs, text, reference, scoring) if inputs else None
    preference = None
    if dataset is not None:
        preference = fit_preference(scoring, dataset, root, cast("Split", split), n, seed)
        print_note(
            f"{preference.dataset}, {preference.n} pairs: the odds that people prefer one of two are"
            f" exp({preference.slope:.4g} × the difference of scores), 95 % [{preference.low:.4g},"
            f" {preference.high:.4g}]"
        )
        if preference.provenance == "demo":
            print_note("They are demo data, which nobody judged: the fit says nothing of people.")
    write_calibration(output, Calibration(sample, preference))
    print_note(f"Wrote {output}")


def fit_preference(
    scoring: Scoring, dataset: str, root: Path, split: Split, n: int | None, seed: int
) -> Preference:
    """Fit the chance that people prefer one of two to the pairs of a set.

    Raises:
        ValueError: If the model does not answer the set, it is not of pairs, or no finite slope is the likeliest.
        OSError: If files of the set are not there.
    """
    from unisim_metrics.benchmark.running.margins import measure_margins
    from unisim_metrics.calibration import Preference
    from unisim_metrics.models import load_model
    from unisim_metrics.statistics.logistic import fit_slope

    _, method = scoring.check()
    found = measure_margins(
        load_model(scoring.model, device=scoring.place, resample=scoring.resampling),
        dataset,
        root,
        split=split,
        n=n,
        seed=seed,
        method=method,
    )
    slope = fit_slope(found.differences, found.chosen, found.clusters)
    return Preference(
        found.signature,
        found.dataset,
        found.samples_hash,
        found.provenance,
        len(found.chosen),
        slope.value,
        slope.low,
        slope.high,
    )


def _sample(inputs: list[str], text: str | None, reference: Path | None, scoring: Scoring) -> ReferenceSample:
    """Score the reference sample; files that cannot be read are named and left out."""
    from unisim_metrics.calibration import ReferenceSample

    task, _ = scoring.check()
    pairs = find_pairs(inputs, text, reference, task)
    model = scoring.open(pairs[0].task(task))
    scored = score_pairs(model, pairs, scoring)
    print_unreadable(model.unreadable)
    if not scored.pairs:
        raise OSError("Nothing could be read.")
    return ReferenceSample(scored.signature, tuple(sorted(scored.scores)))
