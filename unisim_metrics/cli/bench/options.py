"""The options that several of the benchmark's commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import completion

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
