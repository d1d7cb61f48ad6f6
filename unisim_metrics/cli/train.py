"""`unisim train`: a recipe to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli.output import Result, print_note, print_table


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, or a TOML file.")],
    data: Annotated[Path, typer.Option(help="The data root.", exists=True, file_okay=False)],
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME if left out.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting to replace, optimization.learning_rate=1e-5; may be repeated."),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained on.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 2,
    tracker: Annotated[
        list[str] | None, typer.Option(help="A tracker of Accelerate, tensorboard or wandb; may be repeated.")
    ] = None,
) -> None:
    """Train UniSim from a CLIP model. `accelerate launch -m unisim_metrics train` uses several devices.

    [bold]unisim train unisim-vit-b-32 --data DATA --dry-run[/]
    """
    from unisim_metrics.training import run
    from unisim_metrics.training.recipe import read_recipe

    chosen = read_recipe(recipe, settings or [])
    if dry_run:
        planned = run.plan(chosen, data)
        print_table(Result(planned.rows(), title=f"{chosen.name}: {planned.steps} steps from {chosen.base}"))
        return
    folder = out or Path("runs") / chosen.name
    trainer, base = run.start(
        chosen, data, folder, resume=resume, workers=workers, trackers=tuple(tracker or ())
    )
    for report in trainer.train(max_steps):
        trainer.accelerator.log(report.flat(), step=report.step)
    trainer.accelerator.end_training()
    adapter = run.finish(trainer, base)
    for path, count in trainer.unreadable.items():
        print_note(f"skipped {count} times, could not be read: {path}")
    print_note(f"Wrote {adapter}")
