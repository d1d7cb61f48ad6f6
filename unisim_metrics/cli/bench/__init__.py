"""`unisim bench`: the benchmark's commands, a file a subject."""

from __future__ import annotations

import typer

from unisim_metrics.cli.bench import compare, data, demo, efficiency, report, run

app = typer.Typer(
    help="UniSim-Bench: 7 perceptual tasks over 25 datasets.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(data.app, name="data")
app.command("run")(run.run)
app.command("samples")(data.samples)
app.command("compare")(compare.compare)
app.command("demo")(demo.demo)
app.command("report")(report.report)
app.command("efficiency")(efficiency.efficiency)
