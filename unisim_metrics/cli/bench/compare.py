"""`unisim bench compare`: models side by side, and which differences are more than chance."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli.output import Result, print_note, print_table

if TYPE_CHECKING:
    from unisim_metrics.benchmark.comparison import Comparison, Difference


class Format(str, Enum):
    """How the comparison is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


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
    output_format: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TABLE,
    resamples: Annotated[
        int, typer.Option(min=1, help="Resamples that intervals and tests of averages are read from.")
    ] = 9999,
) -> None:
    """Compare models on the samples that they all judged: differences, intervals, significance.

    [bold]unisim bench compare unisim-mini clip-vit-b-32[/]
    """
    from unisim_metrics.benchmark.comparison import compare as compare_models
    from unisim_metrics.benchmark.lookup import find_models

    # The baseline goes first, as it does by default.
    if baseline is not None:
        if baseline not in models:
            raise ValueError(f"Option --baseline must be one of {models}, but got {baseline!r}.")
        models = [baseline, *(model for model in models if model != baseline)]
    comparison = compare_models(find_models(models, results), resamples=resamples)
    for note in comparison.notes:
        print_note(note)
    if output_format is Format.TABLE:
        for title, rows in _tables(comparison).items():
            print_table(Result(rows, title=title))
    elif output_format is Format.MARKDOWN:
        print("\n\n".join(_markdown(title, rows) for title, rows in _tables(comparison).items()))
    elif output_format is Format.CSV:
        print(Result([_flat(comparison, row) for row in comparison.rows], title="").to_csv(), end="")
    else:
        print(json.dumps(_object(comparison, resamples), ensure_ascii=False, indent=2))


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


def _object(comparison: Comparison, resamples: int) -> dict[str, Any]:
    rows = [_flat(comparison, row) for row in comparison.rows]
    return {
        "baseline": comparison.baseline,
        "confidence": comparison.confidence,
        "resamples": resamples,
        "results": [{name: value for name, value in row.items() if name != "baseline"} for row in rows],
        "notes": list(comparison.notes),
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
                "p": _probability(row.p),
                "p (Holm)": _probability(row.corrected),
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


def _probability(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else f"{p:.0e}"


def _markdown(title: str, rows: list[dict[str, Any]]) -> str:
    from unisim_metrics.benchmark.report.markdown import escape

    numbers = [name for name, value in rows[0].items() if isinstance(value, (int, float))]
    lines = [
        [escape(name) for name in rows[0]],
        ["---:" if name in numbers else "---" for name in rows[0]],
        *(
            [
                f"{value:.4f}"
                if isinstance(value, float)
                else (escape(value) if name == "of" else str(value))
                for name, value in row.items()
            ]
            for row in rows
        ),
    ]
    return "\n".join([f"**{escape(title)}**", "", *(f"| {' | '.join(cells)} |" for cells in lines)])
