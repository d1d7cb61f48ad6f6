"""`unisim bench compare`: models side by side, and which differences are more than chance."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Output, Result, shown_p
from unisim_metrics.cli.terminal import print_note

if TYPE_CHECKING:
    from unisim_metrics.benchmark.results.comparison import Comparison, Difference


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODELS...", help="Two or more: a folder of results, a model's name, or name@revision."
        ),
    ],
    results: Annotated[Path, typer.Option(help="Where models are looked for by name.")] = Path("results"),
    baseline: Annotated[
        str | None, typer.Option(help="Which of them the others are compared with; the first if left out.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, help="Random draws that intervals and tests of averages are read from.")
    ] = 9999,
    paper_choice: opt.PaperChoiceOption = False,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
) -> None:
    """Compare models on the samples that they all judged: differences, intervals, significance.

    [bold]unisim bench compare unisim-mini clip-vit-b-32[/]
    """
    from unisim_metrics.benchmark.results.comparison import compare as compare_models
    from unisim_metrics.benchmark.results.comparison import find_models

    destination = Output(form, as_json, as_csv, output)
    destination.check()
    # The baseline goes first, as it does by default.
    if baseline is not None:
        if baseline not in models:
            raise ValueError(f"Option --baseline must be one of {models}, but got {baseline!r}.")
        models = [baseline, *(model for model in models if model != baseline)]
    comparison = compare_models(find_models(models, results), paper_choice=paper_choice, draws=draws)
    for note in comparison.notes:
        print_note(note)
    rows = [_flat(comparison, row) for row in comparison.rows]
    destination.write(
        Result(
            rows,
            title=f"Models beside {comparison.baseline}",
            details={
                "baseline": comparison.baseline,
                "confidence": comparison.confidence,
                "draws": draws,
                "paper_choice": paper_choice,
                "notes": list(comparison.notes),
            },
            json_rows=[{name: value for name, value in row.items() if name != "baseline"} for row in rows],
            parts=[Result(part, title=title) for title, part in _tables(comparison).items()],
        )
    )


def _flat(comparison: Comparison, row: Difference) -> dict[str, Any]:
    """Return a row as one level of plain values."""
    values = asdict(row)
    interval = values.pop("difference")
    return {
        "baseline": comparison.baseline,
        **{name: values[name] for name in ("model", "level", "name", "samples", "n")},
        "baseline_figure": row.baseline,
        "figure": row.figure,
        "difference": interval["value"],
        "low": interval["low"],
        "high": interval["high"],
        **{name: values[name] for name in ("test", "p")},
        "p_holm": row.corrected,
        "significant": comparison.is_significant(row),
    }


def _tables(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Return one table for each model that is compared with the baseline, by its title."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in comparison.rows:
        title = f"{row.model} beside {comparison.baseline}"
        verdict = "better" if row.difference.value > 0 else "worse"
        tables.setdefault(title, []).append(
            {
                "of": _name(row),
                "n": row.n,
                comparison.baseline: row.baseline,
                row.model: row.figure,
                "difference": "{value:+.4f} [{low:+.4f}, {high:+.4f}]".format(**asdict(row.difference)),
                "p": shown_p(row.p),
                "p (Holm)": shown_p(row.corrected),
                "significantly": verdict if comparison.is_significant(row) else "",
            }
        )
    return tables


def _name(row: Difference) -> str:
    from unisim_metrics.benchmark.tasks import find_task

    if row.level == "task":
        return f"{find_task(row.name).title}, mean"
    if row.level == "group":
        return f"{row.name}, mean of tasks"
    return row.name if row.level == "set" else "mean of all tasks"
