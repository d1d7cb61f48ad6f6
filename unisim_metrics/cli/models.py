"""`unisim models` and `unisim convert`: the models that have a name, and a checkpoint as a directory to load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.terminal import print_note


def models(
    task: Annotated[
        str | None,
        typer.Option(help="Only models that answer this task.", autocompletion=completion.tasks),
    ] = None,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
    guard_formulas: opt.GuardOption = False,
) -> None:
    """List the models that --model takes by name.

    It also takes a local directory, a Hub id, an authors' .pt file, and [bold]open_clip:ARCHITECTURE/PRETRAINED[/].
    With --json it tells, too, what scores are usually like, of the models that this was measured of.
    """
    from unisim_metrics.models.registry import REGISTRY, list_models
    from unisim_metrics.models.typical import typical_scores
    from unisim_metrics.tasks import check_task

    destination = Output(form, as_json, as_csv, output, guard_formulas)
    destination.check()
    checked = check_task(task)
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "source": entry.source or entry.base or entry.link,
            "description": f"{entry.description}; {entry.terms}" if entry.terms else entry.description,
        }
        for entry in map(REGISTRY.__getitem__, list_models(checked))
    ]
    destination.write(
        Result(
            rows,
            title="Models" if checked is None else f"Models for {checked}",
            json_rows=[row | {"typical_scores": typical_scores(row["name"])} for row in rows],
        )
    )


def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="An authors' .pt file, their LLaVA checkpoint (a directory, zip or tar), InternVL2.5 as its authors"
            " have it, an adapter's or a full model's directory."
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="The new directory to write.")],
    base: Annotated[
        str | None,
        typer.Option(
            help="The CLIP model it was trained from: a directory or Hub id. Found if left out. For InternVL2.5 the"
            " model in transformers' layout whose processor is taken."
        ),
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Write full weights, not a PEFT adapter on the base.")
    ] = False,
    base_name: Annotated[
        str | None,
        typer.Option(help="What the adapter calls its base: name the Hub id before you share it."),
    ] = None,
) -> None:
    """Convert a checkpoint to a PEFT adapter directory, or with --merged to a full model directory.

    A LLaVA checkpoint, and InternVL2.5, become a full model in transformers' layout.

    [bold]unisim convert epoch_1.pt adapter/[/]  ·  [bold]unisim convert epoch_1.pt model/ --merged[/]
    """
    from unisim_metrics.models import convert as convert_checkpoint

    written = convert_checkpoint(checkpoint, directory, base=base, merged=merged, base_name=base_name)
    print_note(f"Wrote {written}")
