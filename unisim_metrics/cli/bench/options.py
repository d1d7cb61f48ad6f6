"""The options that several of the benchmark's commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RootOption = Annotated[Path, typer.Option("--root", "-r", help="The data root.", file_okay=False)]
