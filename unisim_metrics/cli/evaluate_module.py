"""`unisim install-evaluate` and `unisim publish-evaluate`: the `evaluate` module, here and on the Hub."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unisim_metrics.cli.output import Result, print_table
from unisim_metrics.cli.terminal import print_note


def install_evaluate(
    remove: Annotated[bool, typer.Option("--remove", help="Take the installed copy away again.")] = False,
) -> None:
    r"""Let `evaluate.load("unisim")` find the module on this machine, with or without a network.

    It needs unisim-metrics\[evaluate]. Run it again after an upgrade. A module of that name among the Hub's canonical
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

    publication = Publication.of(organisation)
    if not dry_run:
        print_note(f"Wrote {publication.publish(private)}")
        return
    rows: list[dict[str, Any]] = [
        {"file": name, "bytes": path.stat().st_size} for name, path in publication.files.items()
    ]
    print_table(Result(rows, title=publication.repository))
    print_note(
        f"Nothing was written. It would be a {'private' if private else 'public'} Space, if it is new."
    )
