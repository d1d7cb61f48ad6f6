"""`unisim bench report`: the paper's tables and figures with ours beside."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import options as opt
from unisim_metrics.cli.terminal import print_note

_DEFAULT = Path("results")


class ReportFormat(str, Enum):
    """What a report is written as."""

    HTML = "html"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"


def report(
    results: Annotated[
        list[Path] | None,
        typer.Option(
            "--results",
            help="A folder with results; may be repeated. results/ if left out and there.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The report's folder.", file_okay=False)
    ] = Path("report"),
    form: Annotated[
        list[ReportFormat] | None,
        typer.Option("--format", help="html, markdown, csv or latex; may be repeated. All if left out."),
    ] = None,
    paper_choice: opt.PaperChoiceOption = False,
) -> None:
    """Write Tables 2, 3, 6 and 8 of the paper with measured figures beside, and a page with all charts.

    Without any results it is the paper's figures alone. It needs the extra `benchmark`.

    [bold]unisim bench report --results results --output report[/]
    """
    from unisim_metrics.benchmark.report import FORMATS, write_report

    folders = results if results is not None else [_DEFAULT] if _DEFAULT.is_dir() else []
    formats = [chosen.value for chosen in form] if form else FORMATS
    for path in write_report(output, folders, formats, paper_choice=paper_choice):
        print_note(f"Wrote {path}")
