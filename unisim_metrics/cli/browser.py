"""`unisim app`: the app that ranks pictures in the browser."""

from __future__ import annotations

import os
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import options as opt


def app(
    model: opt.ModelOption = opt.DEFAULT_MODEL,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The port; the first free one from 7860 on if left out."),
    ] = None,
) -> None:
    r"""Start the app that ranks pictures in the browser, on this machine alone.

    It needs unisim-metrics\[app]. Its address is printed; Ctrl-C ends it.

    [bold]unisim app --model unisim-vit-b-32[/]
    """
    from unisim_metrics import evaluate_path

    if find_spec("gradio") is None or find_spec("evaluate") is None:
        raise ModuleNotFoundError(
            "`unisim app` needs gradio and evaluate: pip install 'unisim-metrics[app]'."
        )
    os.environ["UNISIM_MODEL"] = model
    os.environ["GRADIO_SERVER_NAME"] = host
    if port is not None:
        os.environ["GRADIO_SERVER_PORT"] = str(port)
    # Whoever starts the app did not ask it to report that.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    runpy.run_path(str(Path(evaluate_path()) / "app.py"), run_name="__main__")
