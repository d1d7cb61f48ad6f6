"""`unisim bench efficiency`: parameters, throughput and memory of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.terminal import print_note


def efficiency(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…", help="Names, directories or Hub ids.", autocompletion=completion.models
        ),
    ],
    results: Annotated[
        Path,
        typer.Option("--results", help="The folder of results that gets efficiency.json.", file_okay=False),
    ] = Path("results"),
    batch_size: Annotated[int, typer.Option(min=4, help="Images or texts that are embedded together.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="How often each model is timed; medians count.")] = 10,
    device: Annotated[str | None, typer.Option(help="Where the models run; cuda if there is one.")] = None,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
) -> None:
    """Measure parameters, throughput as a ratio to CLIP ViT-B/32 in the same run, and peak memory.

    The baseline has random weights, on which speed does not depend. The report shows what is measured.

    [bold]unisim bench efficiency unisim-mini unisim-vit-b-32[/]
    """
    from unisim_metrics.benchmark.costs.efficiency import measure_efficiency, write_efficiency
    from unisim_metrics.benchmark.report.other_tables import KINDS, describe_costs

    destination = Output(form, as_json, as_csv, output)
    destination.check()
    measured = measure_efficiency(models, batch_size=batch_size, rounds=rounds, device=device)
    rows = [
        {
            "model": model.name,
            **dict(zip(("parameters", *KINDS, "peak_memory"), describe_costs(model), strict=True)),
        }
        for model in measured.models
    ]
    destination.write(Result(rows, title=f"Throughput as a ratio to {measured.baseline}"))
    print_note(f"Wrote {write_efficiency(measured, results)}")
