"""`unisim score`: one score for every image, or for every pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisim_metrics.cli import figure
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.collection import CollectionOptions, score_collection
from unisim_metrics.cli.image_files import find_images
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.pairs import Pair, read_pairs
from unisim_metrics.cli.scoring import Scoring, check_text
from unisim_metrics.cli.tables import is_table

if TYPE_CHECKING:
    from unisim_metrics.calibration import ReferenceSample
    from unisim_metrics.cli.files import FileModel
    from unisim_metrics.tasks import Task


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs that could be read, the score of each, and what made the scores; empty if there is none."""

    pairs: Sequence[Pair]
    scores: Sequence[float]
    signature: str


def score(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Images, folders, globs, or one CSV, TSV or JSONL of pairs: columns image and text, image and"
            " reference, or caption and reference; paths are relative to the table.",
        ),
    ],
    text: opt.TextOption = None,
    reference: opt.ReferenceOption = None,
    task: opt.TaskOption = None,
    method: opt.MethodOption = "naive",
    wording: opt.WordingOption = "authors",
    model: opt.ModelOption = opt.DEFAULT_MODEL,
    device: opt.DeviceOption = None,
    batch_size: opt.BatchSizeOption = None,
    resample: opt.ResampleOption = "bicubic",
    calibration: opt.CalibrationOption = None,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.ScoreOutputOption = None,
    guard_formulas: opt.GuardOption = False,
    save_figure: opt.FigureOption = None,
    engine: opt.EngineOption = None,
    image_column: opt.ImageColumnOption = None,
    text_column: opt.TextColumnOption = None,
    reference_column: opt.ReferenceColumnOption = None,
    keep_column: opt.KeepColumnOption = None,
    keep_embedding: opt.KeepEmbeddingOption = False,
    rows_per_shard: opt.RowsPerShardOption = None,
    max_bad: opt.MaxBadOption = None,
    concurrency: opt.ConcurrencyOption = None,
) -> None:
    """Score images: by quality, against a text or an image, or pair by pair.

    [bold]unisim score photo.jpg[/] (quality)  ·  [bold]unisim score out/ --text "a red fox"[/]  ·
    [bold]unisim score pairs.csv --json[/]  ·  [bold]unisim score out/ --calibration mine.json[/]  ·
    [bold]unisim score 'shards/*.tar' --engine local -o scored/[/]
    """
    scoring = Scoring(model, task, method, device, batch_size, resample, wording)
    collection = CollectionOptions(
        engine,
        *(image_column, text_column, reference_column, tuple(keep_column or ())),
        *(keep_embedding, rows_per_shard, max_bad, concurrency),
    )
    collection.check()
    if engine is not None:
        for option, given in (("--save-figure", save_figure), ("--calibration", calibration)):
            if given is not None:
                raise ValueError(f"Option {option} must not be given with --engine.")
        printed = Output(form, as_json, as_csv, guarded=guard_formulas)
        score_collection(inputs, scoring, (text, reference), collection, output, printed)
        return
    destination = Output(form, as_json, as_csv, None if output is None else Path(output), guard_formulas)
    destination.check()
    figure.check(save_figure)
    checked, _ = scoring.check()
    sample = None if calibration is None else read_reference(calibration)
    pairs = find_pairs(inputs, text, reference, checked)
    file_model = scoring.open(pairs[0].task(checked))
    scored = score_pairs(file_model, pairs, scoring)
    readable, values, signature = scored.pairs, scored.scores, scored.signature
    if not readable:
        raise OSError(f"Nothing could be read. {' '.join(file_model.unreadable.values())}")
    scores = dict(zip(readable, values, strict=True))
    columns = {"score": scores}
    if sample is not None:
        columns["percentile"] = dict(zip(readable, sample.percentiles(values, signature), strict=True))
    title = describe(pairs, text, reference, checked)
    destination.write(
        Result(
            [
                pair.columns() | {name: column.get(pair, math.nan) for name, column in columns.items()}
                for pair in pairs
            ],
            title=title,
            signature=signature,
            summary={"mean": sum(values) / len(values), "count": len(values)},
            texts_cut=file_model.count_cut(),
            unreadable=file_model.unreadable,
            constant=frozenset() if text is None and reference is None else frozenset(("text", "reference")),
        )
    )
    if save_figure is not None:
        ranked = sorted(zip(readable, values, strict=True), key=lambda item: -item[1])
        figure.save_ranking(save_figure, ranked, title, signature, reference)
    if file_model.unreadable:
        raise typer.Exit(1)


def read_reference(file: Path) -> ReferenceSample:
    """Return the reference sample of a calibration.

    Raises:
        ValueError: If the file is no calibration, or holds none.
        OSError: If it cannot be read.
    """
    from unisim_metrics.calibration import read_calibration

    sample = read_calibration(file).reference
    if sample is None:
        raise ValueError(
            f"Option --calibration must name a file with a reference sample, but {file} has none: give"
            " `unisim calibrate` images or pairs."
        )
    return sample


def find_pairs(
    inputs: Sequence[str], text: str | None, reference: Path | None, task: Task | None
) -> list[Pair]:
    """Return what is to be scored, from the arguments.

    Raises:
        ValueError: If the arguments contradict each other.
    """
    if text is not None and reference is not None:
        raise ValueError("Options --text and --reference must not be given together.")
    check_text(text, "--text")
    tables = [argument for argument in inputs if is_table(argument)]
    if not tables:
        target = text if text is not None else reference
        return [Pair(path, target) for path in find_images(inputs)]
    if len(inputs) > 1:
        raise ValueError(f"A table of pairs must come alone, but got {len(inputs)} inputs.")
    pairs = read_pairs(Path(tables[0]), task)
    if text is None and reference is None:
        return pairs
    if any(pair.reference is not None for pair in pairs):
        raise ValueError(
            "Options --text and --reference must come with images alone, but the table holds pairs."
        )
    return [Pair(pair.candidate, text if text is not None else reference) for pair in pairs]


def score_pairs(model: FileModel, pairs: Sequence[Pair], scoring: Scoring) -> ScoredPairs:
    """Score pairs as they are read; those of which a file cannot be read are left out.

    Args:
        model: What `scoring` opened for the task.
        pairs: The pairs.
        scoring: How to score.

    Raises:
        ValueError: If the model does not score the task.
    """
    from unisim_metrics.metrics import UniSimScore

    task, method = scoring.check()
    metric = UniSimScore(model, task=task, method=method, prompts=scoring.prompts, reduction="none")
    readable: list[Pair] = []
    for ready in scoring.stream(model, [pair.items for pair in pairs]):
        run = [pair for pair in pairs[ready.start : ready.stop] if model.is_readable(*pair.items)]
        if run:
            references = [pair.reference for pair in run]
            metric.update([pair.candidate for pair in run], None if references[0] is None else references)
            readable += run
    if not readable:
        return ScoredPairs((), (), "")
    return ScoredPairs(readable, metric.compute().tolist(), metric.signature)


def describe(pairs: Sequence[Pair], text: str | None, reference: Path | None, task: str | None) -> str:
    """Return a heading that says what is judged."""
    if text is not None:
        return f"Similarity to “{text}”"
    if reference is not None:
        return f"Similarity to {reference}"
    if pairs[0].reference is not None:
        return "Similarity of pairs"
    return f"Images by {task or 'quality'}"
