"""`unisim train` and `unisim publish`: a recipe to a run, and a finished run to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli.output import Result, print_table
from unisim_metrics.cli.terminal import print_note, visible

if TYPE_CHECKING:
    from unisim_metrics.training.clip.trainer import Trainer
    from unisim_metrics.training.validation import ValidationReport

# More are counted, not named.
_MOST_UNREADABLE = 20


def train(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name, or a TOML file.", autocompletion=completion.recipes)
    ],
    data: Annotated[Path, typer.Option("--root", help="The data root.", exists=True, file_okay=False)],
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder; runs/NAME if left out.")
    ] = None,
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
    """Train UniSim from a CLIP model or a vision-language model, or a small model from nothing.

    What the recipe is of decides the trainer. `accelerate launch -m unisim_metrics train` uses several devices.

    [bold]unisim train unisim-vit-b-32 --root DATA --dry-run[/]
    """
    from unisim_metrics.training.clip import run
    from unisim_metrics.training.generative.mini.recipe import is_generative_mini
    from unisim_metrics.training.generative.recipe import is_generative
    from unisim_metrics.training.mini.recipe import is_of_two_towers
    from unisim_metrics.training.recipe import read_recipe, read_table

    table = read_table(recipe, settings or [])
    if is_generative(table):
        _train_generative(
            recipe, data, out, settings or [], max_steps, resume, dry_run, workers, tuple(tracker or ())
        )
        return
    if is_of_two_towers(table) or is_generative_mini(table):
        stages = "bridge.steps" if is_of_two_towers(table) else "letters.quality"
        if max_steps or tracker:
            raise ValueError(
                "Options --max-steps and --tracker are not for a model that is made from nothing, in stages; shorten"
                f" these with --set {stages}=N and the like."
            )
        from_nothing = _train_bundled if is_of_two_towers(table) else _train_generative_mini
        from_nothing(recipe, data, out, settings or [], resume, dry_run, workers)
        return
    chosen = read_recipe(recipe, settings or [])
    if dry_run:
        planned = run.plan(chosen, data)
        print_table(Result(planned.rows(), title=f"{chosen.name}: {chosen.steps} steps from {chosen.base}"))
        print_note(f"SHA-256 of the triplets: {planned.data_hash}")
        if planned.held_out_hash is not None:
            print_note(f"SHA-256 of those held out: {planned.held_out_hash}")
        return
    folder = out or _default_folder(chosen.name)
    trainer, base = run.start(
        chosen, data, folder, resume=resume, workers=workers, trackers=tuple(tracker or ())
    )
    for _ in trainer.train(max_steps):
        pass
    trainer.accelerator.end_training()
    adapter = run.finish(trainer, base)
    if trainer.accelerator.is_main_process:
        _report(trainer)
        print_note(f"Wrote {adapter}")


def _default_folder(name: str) -> Path:
    """Return the folder of a run that was given none.

    Raises:
        ValueError: If the recipe's name, which may be that of others, would lead out of `runs/`.
    """
    if name in ("", ".", "..") or visible(name) != name or set(name) & set('/\\:*?"<>|'):
        raise ValueError(
            f"Setting name must be one that a folder can have, or --output be given, but got {name!r}."
        )
    return Path("runs") / name


def _train_bundled(
    recipe: str, data: Path, out: Path | None, settings: list[str], resume: bool, dry_run: bool, workers: int
) -> None:
    from unisim_metrics.training.mini import run
    from unisim_metrics.training.mini.recipe import read_recipe

    chosen = read_recipe(recipe, settings)
    if dry_run:
        planned = run.plan(data)
        stages = f"{chosen.bridge.steps} and {chosen.perceptual.steps} steps"
        print_table(Result(planned.rows, title=f"{chosen.name}: {stages} from EfficientNet-Lite2 and MiniLM"))
        print_note(f"SHA-256 of the annotations: {planned.data_hash}")
        return
    folder = out or _default_folder(chosen.name)
    model = run.start(chosen, data, folder, resume=resume, workers=max(workers, 1))
    print_note(f"Wrote {model}")


def _train_generative(
    recipe: str,
    data: Path,
    out: Path | None,
    settings: list[str],
    max_steps: int | None,
    resume: bool,
    dry_run: bool,
    workers: int,
    trackers: tuple[str, ...],
) -> None:
    from unisim_metrics.training.generative import run
    from unisim_metrics.training.generative.recipe import read_recipe

    chosen = read_recipe(recipe, settings)
    if dry_run:
        planned = run.plan(chosen, data)
        rows = [
            {key: row.get(key, "") for key in ("dataset", "task", "triplets", "held_out", "records")}
            for row in (*planned.triplets.rows(), *planned.instruction_rows())
        ]
        title = f"{chosen.name}: {chosen.steps} steps, {len(planned.mixture):,} dialogues, from {chosen.base}"
        print_table(Result(rows, title=title))
        mixed = [{"dialogues of": name, "count": count} for name, count in planned.mixture.counts.items()]
        print_table(Result(mixed, title="The mixture"))
        print_note(f"SHA-256 of the triplets: {planned.triplets.data_hash}")
        if planned.instructions_hash is not None:
            print_note(f"SHA-256 of the instruction files: {planned.instructions_hash}")
        return
    folder = out or _default_folder(chosen.name)
    trainer = run.start(chosen, data, folder, resume=resume, workers=workers, trackers=trackers)
    run.train(trainer, max_steps, resume)
    model = run.finish(trainer)
    if trainer.is_world_process_zero():
        _report_left_out(trainer.left_out.reasons)
        if trainer.validator is not None and trainer.validator.last is not None:
            print_table(Result(_rows(trainer.validator.last), title="Accuracy on triplets held out"))
        print_note(f"Wrote {model}")


def _train_generative_mini(
    recipe: str, data: Path, out: Path | None, settings: list[str], resume: bool, dry_run: bool, workers: int
) -> None:
    from unisim_metrics.training.generative.mini import run
    from unisim_metrics.training.generative.mini.recipe import read_recipe

    chosen = read_recipe(recipe, settings)
    if dry_run:
        stages = [
            {"stage": name, "quality": stage.quality, "image-image": stage.image_image}
            for name, stage in (("letters", chosen.letters), ("judgments", chosen.judgments))
        ]
        print_table(Result(stages, title=f"{chosen.name}: dialogues of each stage"))
        return
    model = run.start(chosen, data, out or _default_folder(chosen.name), resume=resume, workers=workers)
    print_note(f"Wrote {model}")


def _report_left_out(reasons: dict[str, str]) -> None:
    for name, reason in list(reasons.items())[:_MOST_UNREADABLE]:
        print_note(f"left out {name}: {reason}")
    more = len(reasons) - _MOST_UNREADABLE
    if more > 0:
        print_note(f"… and {more} more, see the last checkpoint's trainer_state.json")


def _report(trainer: Trainer) -> None:
    """Print what was left out, and the last validation."""
    for path, count in trainer.unreadable.most_common(_MOST_UNREADABLE):
        print_note(f"left out {count} triplets, could not be read: {path}")
    more = len(trainer.unreadable) - _MOST_UNREADABLE
    if more > 0:
        print_note(f"… and {more} more images, see the last checkpoint's state.json")
    if trainer.validator is not None and trainer.validator.last is not None:
        print_table(Result(_rows(trainer.validator.last), title="Accuracy on triplets held out"))


def _rows(report: ValidationReport) -> list[dict[str, Any]]:
    shares = [(result.dataset, result.task, result.accuracy, result.n) for result in report.results]
    shares += [("mean", task, share, "") for task, share in report.tasks().items()]
    shares += [("mean", "all", report.mean(), "")]
    return [
        {
            "dataset": dataset,
            "task": task,
            "accuracy": share.value,
            "from": share.low,
            "to": share.high,
            "n": n,
        }
        for dataset, task, share, n in shares
    ]


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
