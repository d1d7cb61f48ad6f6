"""`unisim app`, `install-evaluate`, `publish-evaluate`: the `evaluate` module in the browser, here and on the Hub."""

from __future__ import annotations

import os
import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Result, print_table
from unisim_metrics.cli.terminal import print_note
from unisim_metrics.installation import install_extra


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
    """Start the app that ranks pictures in the browser, on this machine alone.

    It needs the extra `app`. Its address is printed; Ctrl-C ends it.

    [bold]unisim app --model unisim-vit-b-32[/]
    """
    from unisim_metrics import evaluate_path

    if find_spec("gradio") is None or find_spec("evaluate") is None:
        raise ModuleNotFoundError(f"`unisim app` needs gradio and evaluate: {install_extra('app')}.")
    os.environ["UNISIM_MODEL"] = model
    os.environ["GRADIO_SERVER_NAME"] = host
    if port is not None:
        os.environ["GRADIO_SERVER_PORT"] = str(port)
    # Whoever starts the app did not ask it to report that.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    runpy.run_path(str(Path(evaluate_path()) / "app.py"), run_name="__main__")


def install_evaluate(
    remove: Annotated[bool, typer.Option("--remove", help="Take the installed copy away again.")] = False,
) -> None:
    """Let `evaluate.load("unisim")` find the module on this machine, with or without a network.

    It needs the extra `evaluate`. Run it again after an upgrade. A module of that name among the Hub's canonical
    ones would come first when online.
    """
    from unisim_metrics.integrations.evaluate import installation

    if not remove:
        print_note(f"Wrote {installation.install()}")
        return
    removed = installation.remove()
    for folder in removed:
        print_note(f"Removed {folder}")
    if not removed:
        print_note("Nothing was installed.")


def publish_evaluate(
    organisation: Annotated[
        str, typer.Argument(metavar="ORG", help="The user or organisation that gets the Space ORG/unisim.")
    ],
    package: Annotated[
        str | None,
        typer.Option(
            help="Where the Space installs unisim-metrics from: a Git address (git+https://...), or a wheel, which goes"
            " into the Space; where this installation came from, if that is Git and this is left out."
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new Space that only its owners see.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")
    ] = False,
) -> None:
    """Publish the `evaluate` module as a Space of the Hugging Face Hub, for `evaluate.load("ORG/unisim")`.

    All files go in one commit. It needs a token with the right to write there (`hf auth login`).
    """
    from unisim_metrics.integrations.evaluate.publication import Publication

    publication = Publication.of(organisation, package)
    if not dry_run:
        print_note(f"Wrote {publication.publish(private)}")
        return
    rows: list[dict[str, Any]] = [
        {"file": name, "bytes": len(content) if isinstance(content, bytes) else content.stat().st_size}
        for name, content in publication.files.items()
    ]
    print_table(Result(rows, title=publication.repository))
    print_note(
        f"Nothing was written. It would be a {'private' if private else 'public'} Space, if it is new."
    )
