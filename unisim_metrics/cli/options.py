"""The options that several commands share: one name, one short form and one meaning in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli.output import Format

# What options were called before, and what they are called now; `Program` takes both.
FORMER_NAMES = {"out": "output", "data": "root", "resamples": "draws"}

_SCORING = "Scoring"
_OUTPUT = "Output"

TextOption = Annotated[
    str | None, typer.Option("--text", "-t", help="A text that every image is held against.")
]
ReferenceOption = Annotated[
    Path | None, typer.Option("--reference", "-r", help="An image that every candidate is held against.")
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help="What is judged: image-image, image-text, caption, quality, brightness, colorfulness, contrast,"
        " sharpness, odd-one-out (rank only). Inferred from what is given, quality from images alone.",
        rich_help_panel=_SCORING,
        autocompletion=completion.tasks,
    ),
]
MethodOption = Annotated[
    str,
    typer.Option(
        help="How quality and attributes are scored: naive or clip-iqa.",
        rich_help_panel=_SCORING,
        autocompletion=completion.methods,
    ),
]
WordingOption = Annotated[
    str,
    typer.Option(
        "--wording",
        help="Which texts stand for quality and attributes: authors (those of their code) or paper.",
        rich_help_panel=_SCORING,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A name (see `unisim models`), a directory, a Hub id.",
        rich_help_panel=_SCORING,
        autocompletion=completion.models,
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Where the model runs; cuda if there is one.", rich_help_panel=_SCORING)
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images that are encoded together; as many as suit model and device if left out.",
        rich_help_panel=_SCORING,
    ),
]
ResampleOption = Annotated[
    str,
    typer.Option(
        help="Resizing: bicubic (quick, within a grey level of PIL) or pil (bit-exact).",
        rich_help_panel=_SCORING,
        autocompletion=completion.resamples,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", help="What is printed: a table if left out.", rich_help_panel=_OUTPUT, show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Short for --format json.", rich_help_panel=_OUTPUT)]
CsvOption = Annotated[bool, typer.Option("--csv", help="Short for --format csv.", rich_help_panel=_OUTPUT)]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Write the result to this .json, .csv or .md file.", rich_help_panel=_OUTPUT
    ),
]
ScoreOutputOption = Annotated[
    str | None,  # a path would lose one of the slashes of a URL
    typer.Option(
        "--output",
        "-o",
        help="Write the result to this .json, .csv or .md file; with --engine the shards into this folder or URL.",
        rich_help_panel=_OUTPUT,
    ),
]
GuardOption = Annotated[
    bool,
    typer.Option(
        "--guard-formulas",
        help="In CSV, put an apostrophe before texts that a spreadsheet would take for a formula.",
        rich_help_panel=_OUTPUT,
    ),
]
FigureOption = Annotated[
    Path | None,
    typer.Option(
        "--save-figure", help="Draw the ranked candidates into this picture.", rich_help_panel=_OUTPUT
    ),
]
ConfidenceOption = Annotated[
    float,
    typer.Option(
        "--confidence",
        help="How often the intervals hold the true figure; a difference is told where p is at most one less this.",
        rich_help_panel=_OUTPUT,
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Write a page into this folder, which needs nothing but itself: the verdict, the scores, the prompts with"
        " the largest wins and their pictures.",
        file_okay=False,
        rich_help_panel=_OUTPUT,
    ),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="A file of `unisim calibrate`, which says what scores of this model mean.",
        rich_help_panel=_SCORING,
        exists=True,
        dir_okay=False,
    ),
]
_COLLECTION = "Large collections"
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Stream a collection of any size into a folder of Parquet shards, --output; on this machine (local) or a"
        " cluster (ray). Inputs may be .tar, .parquet and .jsonl files, globs of them and URLs, too. A second run"
        " goes on where the first ended.",
        rich_help_panel=_COLLECTION,
    ),
]
ImageColumnOption = Annotated[
    str | None,
    typer.Option("--image-column", help="The column of the images; image.", rich_help_panel=_COLLECTION),
]
TextColumnOption = Annotated[
    str | None, typer.Option("--text-column", help="The column of the texts.", rich_help_panel=_COLLECTION)
]
ReferenceColumnOption = Annotated[
    str | None,
    typer.Option(
        "--reference-column",
        help="The column of the images that images are held against.",
        rich_help_panel=_COLLECTION,
    ),
]
KeepColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-column", help="A column that goes into the output; repeatable.", rich_help_panel=_COLLECTION
    ),
]
KeepEmbeddingOption = Annotated[
    bool,
    typer.Option("--keep-embedding", help="Write the vectors, too.", rich_help_panel=_COLLECTION),
]
RowsPerShardOption = Annotated[
    int | None,
    typer.Option(
        "--rows-per-shard",
        min=1,
        help="Image files or rows of a table that make a shard; 10000. An archive is one, unless it is large.",
        rich_help_panel=_COLLECTION,
    ),
]
MaxBadOption = Annotated[
    int | None,
    typer.Option(
        "--max-bad",
        min=0,
        help="End the job when more rows than this cannot be scored.",
        rich_help_panel=_COLLECTION,
    ),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        min=1,
        help="Processes that score on a cluster; one a GPU, or one a core where there is none.",
        rich_help_panel=_COLLECTION,
    ),
]
DEFAULT_MODEL = "unisim-mini"

# Of the benchmark.
ProtocolOption = Annotated[
    str,
    typer.Option(
        help="paper, or authors for the samples and images of the authors' code where it differs from the paper."
    ),
]
RootOption = Annotated[Path, typer.Option("--root", help="The data root.", file_okay=False)]
SplitOption = Annotated[
    str,
    typer.Option(help="test, or train for the sets that UniSim trains on.", autocompletion=completion.splits),
]
PaperChoiceOption = Annotated[
    bool,
    typer.Option(
        "--paper-choice",
        help="Of the two ways to ask for quality and attributes take the one that is better on the scored samples"
        " themselves, as the paper does. If left out, it is chosen on the other half of the samples.",
    ),
]
