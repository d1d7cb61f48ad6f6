"""`unisim score --engine` and `unisim collection`: scores of large collections, their summary, and the best of them."""

from __future__ import annotations

import math
import re
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unisim_metrics.cli import figure
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.histogram import histogram, save_histogram
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.scoring import check_text, pick_device
from unisim_metrics.cli.terminal import errors, print_note

if TYPE_CHECKING:
    from unisim_metrics.cli.scoring import Scoring
    from unisim_metrics.collections import CollectionReport, Progress

app = typer.Typer(
    no_args_is_help=True, help="What `unisim score --engine` has written: its summary, its best."
)

FolderArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="A folder of Parquet shards, or a URL that stands for one.")
]


@dataclass(frozen=True)
class CollectionOptions:
    """The options of `unisim score` that go with `--engine`, as they were typed."""

    engine: str | None = None
    image_column: str | None = None
    text_column: str | None = None
    reference_column: str | None = None
    keep_columns: tuple[str, ...] = ()
    keep_embedding: bool = False
    rows_per_shard: int | None = None
    max_bad: int | None = None
    concurrency: int | None = None

    def check(self) -> None:
        """Check that nothing is asked of an engine where none is.

        Raises:
            ValueError: If it is.
        """
        if self.engine is not None:
            return
        given = [
            name for name, value in vars(self).items() if name != "engine" and value not in (None, (), False)
        ]
        if given:
            option = {"keep_columns": "keep-column"}.get(given[0], given[0].replace("_", "-"))
            raise ValueError(
                f"Option --{option} goes with --engine, which writes a folder of Parquet shards."
            )


def score_collection(
    inputs: list[str],
    scoring: Scoring,
    against: tuple[str | None, Path | None],
    options: CollectionOptions,
    folder: str | None,
    printed: Output,
) -> None:
    """Score a collection into the folder of `--output`, and print what was done.

    Args:
        inputs: What was typed.
        scoring: How to score.
        against: The text and the image for all rows, if there is one.
        options: The options of the engine.
        folder: What `--output` names.
        printed: How the result is printed.

    Raises:
        ValueError: If there is no folder, or an option is out of its range.
        typer.Exit: With 1, if something could not be scored.
    """
    from unisim_metrics.collections.folders import open_folder
    from unisim_metrics.collections.supervision import run_supervised

    if folder is None:
        raise ValueError("Option --output must name a folder with --engine.")
    printed.chosen()
    scoring.check()
    check_text(against[0], "--text")
    scoring.tell_of_model()
    job = partial(_score, inputs, scoring, against, options, folder)
    start = time.perf_counter()
    with _ProgressLine() as line:
        if options.engine == "local":
            report = run_supervised(job, open_folder(folder), line.show)
        else:
            report = job(uuid.uuid4().hex, line.show)
    seconds = time.perf_counter() - start
    done = {"rows": report.rows, "unreadable": report.errors, "shards": report.shards}
    fresh = {"made before": report.skipped, "seconds": round(seconds, 1)}
    printed.write(Result([done | fresh], title=f"Scored into {report.output}", signature=report.signature))
    if report.errors:
        print_note(f"`unisim collection summarize {report.output}` tells more; unisim_error has the reasons.")
        raise typer.Exit(1)


def _score(
    inputs: list[str],
    scoring: Scoring,
    against: tuple[str | None, Path | None],
    options: CollectionOptions,
    folder: str,
    run: str,
    tell: Callable[[Progress], object],
) -> CollectionReport:
    """What the process that does the work does: all that needs torch."""
    from unisim_metrics.collections import UniSimScorer
    from unisim_metrics.collections.job import Job

    task, method = scoring.check()
    text, reference = against
    devices = [pick_device(name) for name in (scoring.device or "").split(",") if name]
    scorer = UniSimScorer(
        scoring.model,
        task,
        image_column=options.image_column or "image",
        text_column=options.text_column,
        reference_column=options.reference_column,
        text=text,
        reference=reference,
        method=method,
        prompts=scoring.prompts,
        batch_size=scoring.batch_size,
        keep_embedding=options.keep_embedding,
        keep_columns=options.keep_columns,
        resample=scoring.resample,
    )
    settings: dict[str, Any] = (
        {} if options.rows_per_shard is None else {"rows_per_shard": options.rows_per_shard}
    )
    job = Job(
        inputs,
        folder,
        scorer,
        engine=cast(Any, options.engine),
        devices=devices or None,
        concurrency=options.concurrency,
        max_bad=options.max_bad,
        **settings,
    )
    return job(run, tell)


@app.command("summarize")
def summarize(
    folder: FolderArgument,
    above: Annotated[float | None, typer.Option(help="Tell the share of scores from here on.")] = None,
    bars: Annotated[int, typer.Option(min=1, help="Bars of the histogram.")] = 20,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
    save_figure: Annotated[
        Path | None,
        typer.Option("--save-figure", help="Draw the histogram into this picture.", rich_help_panel="Output"),
    ] = None,
) -> None:
    """Tell the count, mean, percentiles and histogram of the scores in a folder."""
    from unisim_metrics.collections import summarize_collection

    destination = Output(form, as_json, as_csv, output)
    destination.check()
    figure.check(save_figure)
    summary = summarize_collection(folder, threshold=above, bars=bars)
    figures: dict[str, Any] = {
        "scored": summary.count,
        "unreadable": summary.errors,
        "mean": summary.mean,
        "low": summary.interval[0],
        "high": summary.interval[1],
        "deviation": summary.deviation,
        **{f"p{percent}": value for percent, value in summary.percentiles.items()},
    }
    if summary.above is not None:
        figures[f"share from {above:g}"] = summary.above
    title = f"Scores in {folder}" + ("" if summary.is_complete else ", which is not complete yet")
    details = {"histogram": {"edges": list(summary.edges), "bars": list(summary.bars)}}
    rows = [{"figure": name, "value": value} for name, value in figures.items()]
    result = Result(rows, title=title, signature=summary.signature, json_rows=[figures], details=details)
    destination.write(result)
    if destination.file is None and destination.chosen() in (None, "table"):
        print(histogram(summary), end="")
    if save_figure is not None:
        save_histogram(save_figure, summary, title, above)


@app.command("filter")
def filter_rows(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--output", "-o", help="The Parquet file that is written.")],
    top: Annotated[
        str | None, typer.Option(help="Keep this share of what has a score, the best: 30%, or 0.3.")
    ] = None,
    above: Annotated[float | None, typer.Option(help="Keep the scores from here on.")] = None,
) -> None:
    """Write the rows with the highest scores into one Parquet file."""
    from unisim_metrics.collections import filter_collection

    if out.suffix.lower() != ".parquet":
        raise ValueError(f"Option --output must name a .parquet file, not {out}.")
    count = filter_collection(folder, out, top=None if top is None else parse_share(top), above=above)
    print(f"Wrote {count} rows to {out}")


def parse_share(text: str) -> float:
    """Return a share that is written as `30%` or `0.3`.

    Raises:
        ValueError: If it is neither, or lies outside of (0, 1].
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    share = math.nan if found is None else float(found[1]) / (100 if found[2] else 1)
    if not 0 < share <= 1:
        raise ValueError(f"Option --top must be a share such as 30% or 0.3, but got {text!r}.")
    return share


class _ProgressLine:
    """A line on the terminal that tells how far a job is; nothing where stderr is none."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> _ProgressLine:
        from tqdm import tqdm

        self._bar = tqdm(unit=" rows", file=sys.stderr, disable=not errors.is_terminal, smoothing=0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, progress: Progress) -> None:
        """Show a moment of the job."""
        self._bar.total = progress.total
        left = (
            ""
            if progress.total is not None or progress.seconds_left is None
            else _duration(progress.seconds_left)
        )
        notes = f"shard {progress.shards}/{progress.total_shards}, {progress.errors} unreadable"
        self._bar.set_postfix_str(f"{notes}, {left} left" if left else notes, refresh=False)
        self._bar.update(progress.rows - self._bar.n)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
