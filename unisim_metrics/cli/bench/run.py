"""`unisim bench run`: a model through sets of the benchmark."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.options import ProtocolOption, RootOption, SplitOption
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.terminal import print_error, print_note, print_warning

if TYPE_CHECKING:
    from unisim_metrics.benchmark.results.files import SetResult
    from unisim_metrics.models import PerceptualModel


class Overwriting(str, Enum):
    """What to do about a result that is there already."""

    ALWAYS = "always"
    ONLY_MISSING = "only-missing"
    NEVER = "never"
    READ_ONLY = "read-only"


def run(
    model: Annotated[
        str,
        typer.Argument(
            help="A name (see `unisim models`), a directory, a Hub id.", autocompletion=completion.models
        ),
    ],
    root: RootOption = Path("."),
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            help="A set, or a .jsonl or .parquet file of samples; may be repeated. All that are there if left out.",
            autocompletion=completion.sets,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="All sets of a task, iqa or it-2afc; may be repeated.",
            autocompletion=completion.benchmark_tasks,
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="The folder of the result files.")] = Path("results"),
    split: SplitOption = "test",
    n: Annotated[
        int | None, typer.Option(min=1, help="Samples of each set; as many as in the paper if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which draw of the samples.")] = 0,
    protocol: ProtocolOption = "paper",
    workers: Annotated[
        int | None, typer.Option(min=0, help="Threads that read images; as many as cores if left out.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Items that pass through the model together.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the model runs; cuda if there is one.")] = None,
    demonstrations: Annotated[
        int, typer.Option(min=0, help="Solved samples that a generative model is shown first.")
    ] = 0,
    max_lost: Annotated[
        float, typer.Option(min=0, max=1, help="The share of a set's samples that may have no choice.")
    ] = 0.01,
    overwrite: Annotated[
        Overwriting, typer.Option(help="What to do about results that are there already.")
    ] = Overwriting.ONLY_MISSING,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither read nor keep embeddings on disk.")
    ] = False,
    paper_choice: opt.PaperChoiceOption = False,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
) -> None:
    """Ask a model about sets of the benchmark, and print its figures with their 95 % intervals.

    A run that was stopped goes on when it is started again. torchrun and accelerate launch share it among devices.

    [bold]unisim bench run unisim-mini --root DATA[/]  ·
    [bold]unisim bench run unisim-vit-b-32 --root DATA --task iqa --dataset mine.jsonl[/]
    """
    from unisim_metrics.benchmark.tasks import find_task
    from unisim_metrics.cli.scoring import pick_device

    destination = Output(form, as_json, as_csv, output)
    destination.check()
    named = [name for each in task or [] for name in find_task(each).datasets] + (dataset or [])
    found, failed = ask(
        model,
        list(dict.fromkeys(named)) or None,
        root,
        device=None if device is None else pick_device(device),
        results=results,
        split=split,
        n=n,
        seed=seed,
        protocol=protocol,
        cache=not no_cache,
        workers=workers,
        batch_size=batch_size,
        max_lost=max_lost,
        overwrite=overwrite.value,
        demonstrations=demonstrations,
    )
    if found and tells():
        destination.write(Result(figures_of(found, paper_choice), title=f"{model}, seed {seed}"))
        print_note(f"Results are in {results}")
    if failed:
        raise typer.Exit(1)


def tells() -> bool:
    """Whether this process is the one that prints, where several share the work."""
    return os.environ.get("RANK", "0") == "0"


def ask(
    model: str | PerceptualModel, datasets: Sequence[str] | None, root: Path, **settings: Any
) -> tuple[Mapping[str, SetResult], bool]:
    """Ask a model about sets of the benchmark; print why sets failed.

    Args:
        model: What `unisim_metrics.benchmark.run` takes.
        datasets: The sets; all that are there if None.
        root: The data root.
        settings: What else `unisim_metrics.benchmark.run` takes.

    Returns:
        The results by set, and whether any set failed.
    """
    from unisim_metrics.benchmark.errors import BenchmarkError
    from unisim_metrics.benchmark.running.runner import run as run_benchmark

    warnings.showwarning = lambda message, *_, **__: print_warning(str(message))
    try:
        found = run_benchmark(model, datasets, root, **settings)
    except BenchmarkError as error:
        if tells():
            for name, reason in error.failures.items():
                print_error(f"{name}: {reason}")
        return error.results, bool(error.failures)
    return found, False


def figures_of(found: Mapping[str, SetResult], paper_choice: bool = False) -> list[dict[str, Any]]:
    """One row a figure, and one for the mean of each task that is complete, in the way that is taken."""
    from unisim_metrics.benchmark.results.summary import summarize
    from unisim_metrics.benchmark.tasks import TASKS, task_of

    rows = []
    summary = summarize(found, paper_choice=paper_choice)
    for task in TASKS:
        own = [result for result in found.values() if task_of(result.task) is task]
        rows += [
            {
                "task": task.title,
                "dataset": result.dataset,
                "method": outcome.method or "",
                "figure": outcome.figure,
                "from": outcome.low,
                "to": outcome.high,
                "n": result.n,
                "lost": result.lost,
                **_unnamed(found, result),
                "samples": result.provenance or "",
                **_cut(found, result),
            }
            for result in own
            for outcome in result.outcomes
        ]
        if task.id in summary.tasks:
            mean = summary.tasks[task.id]
            means = [result for result in own if result.dataset in task.datasets]
            count: dict[str, Any] = {
                "n": sum(result.n for result in means),
                "lost": sum(result.lost for result in means),
                **_unnamed(found, *means),
            }
            kinds = {result.provenance or "" for result in means}
            count |= {"samples": kinds.pop() if len(kinds) == 1 else "mixed", **_cut(found, *means)}
            figures = {"figure": mean.value, "from": mean.low, "to": mean.high}
            choice = summary.methods.get(task.id)
            method = "" if choice is None else choice.title
            rows.append({"task": task.title, "dataset": "mean", "method": method, **figures, **count})
    return rows


def _unnamed(found: Mapping[str, SetResult], *results: SetResult) -> dict[str, int]:
    """Return how many answers name no alternative, if any does in the whole table."""
    if not any(result.unnamed_answers for result in found.values()):
        return {}
    return {"no_alternative": sum(result.unnamed_answers for result in results)}


def _cut(found: Mapping[str, SetResult], *results: SetResult) -> dict[str, int]:
    """Return how many texts were cut to the model's context, if any was in the whole table."""
    if not any(result.truncated_texts for result in found.values()):
        return {}
    return {"texts_cut": sum(result.truncated_texts or 0 for result in results)}
