"""`unisim bench efficiency`: parameters, throughput and memory of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli.output import Result, print_note, print_table


def efficiency(
    models: Annotated[list[str], typer.Argument(metavar="MODEL…", help="Names, directories or Hub ids.")],
    results: Annotated[
        Path,
        typer.Option("--results", help="The folder of results that gets efficiency.json.", file_okay=False),
    ] = Path("results"),
    batch_size: Annotated[int, typer.Option(min=4, help="Images or texts that are embedded together.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="How often each model is timed; medians count.")] = 10,
    device: Annotated[str | None, typer.Option(help="Where the models run; cuda if there is one.")] = None,
) -> None:
    """Measure parameters, throughput as a ratio to CLIP ViT-B/32 in the same run, and peak memory.

    The baseline has random weights, on which speed does not depend. The report shows what is measured.

    [bold]unisim bench efficiency unisim-mini unisim-vit-b-32[/]
    """
    from unisim_metrics.benchmark.efficiency import measure_efficiency, write_efficiency

    measured = measure_efficiency(models, batch_size=batch_size, rounds=rounds, device=device)
    rows = [
        {
            "model": model.name,
            "parameters": f"{model.parameters / 1e6:.1f} M",
            "images": _times(model.images),
            "texts": _times(model.texts),
            "comparisons": _times(model.comparisons),
            "peak memory": f"{model.peak_memory_bytes / 2**20:,.0f} MiB",
        }
        for model in measured.models
    ]
    print_table(Result(rows, title=f"Throughput as a ratio to {measured.baseline}"))
    print_note(f"Wrote {write_efficiency(measured, results)}")


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}×"
