"""`unisim publish`: a finished run to a repository on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli.output import Result, print_table
from unisim_metrics.cli.terminal import print_note


def publish(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    repo: Annotated[str, typer.Option(help="The repository, ORG/NAME; made if there is none.")],
    base: Annotated[
        str | None, typer.Option(help="The base's Hub id, if the run's base is a directory.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision_tag: Annotated[
        str | None, typer.Option(help="A tag for this version; the next of v1, v2, ... if left out.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="The licence's identifier on the Hub; research only if left out.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files and the card, and write nothing to the Hub.")
    ] = False,
) -> None:
    """Publish a finished run: adapter, merged weights, recipe and model card, in one commit with a tag.

    [bold]unisim publish runs/b-32 --repo ORG/NAME --dry-run[/]
    """
    from unisim_metrics.training.publishing.finished_run import read_run
    from unisim_metrics.training.publishing.publish import prepare
    from unisim_metrics.training.publishing.publish import publish as publish_run

    if dry_run:
        with prepare(read_run(run), repo, base=base, license=license) as publication:
            sizes = {name: path.stat().st_size for name, path in publication.files.items()}
            rows = [{"file": name, "bytes": size} for name, size in sizes.items()]
            print_table(Result(rows, title=f"{repo}: {len(rows)} files, {sum(sizes.values()):,} bytes"))
            typer.echo(publication.card)
        print_note("Nothing was published.")
        return
    published = publish_run(run, repo, base=base, private=private, tag=revision_tag, license=license)
    print_note(f"Published commit {published.commit} as {published.tag}:")
    typer.echo(published.url)
