"""`unisim bench`: the benchmark's commands, one file each."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="UniSim-Bench: 7 perceptual tasks over 25 datasets.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
