"""`unisim models`: the models that have a name."""

from __future__ import annotations

from typing import Any

from unisim_metrics.cli import options as opt
from unisim_metrics.cli.output import Output, Result


def models(
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
    guard_formulas: opt.GuardOption = False,
) -> None:
    """List the models that --model takes by name.

    It also takes a local directory, a Hub id, an authors' .pt file, and [bold]open_clip:ARCHITECTURE/PRETRAINED[/].
    """
    from unisim_metrics.models.registry import REGISTRY

    destination = Output(form, as_json, as_csv, output, guard_formulas)
    destination.check()
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "kind": entry.kind,
            "source": entry.source or entry.base or "",
            "description": entry.description,
        }
        for entry in REGISTRY.values()
    ]
    destination.write(Result(rows, title="Models"))
