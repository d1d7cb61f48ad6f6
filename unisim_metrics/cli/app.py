"""The `unisim` program: its commands, and how errors end it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unisim_metrics.cli import (
    bench,
    collection,
    demo,
    evaluate_module,
    models,
    rank,
    score,
    serve,
    train,
)
from unisim_metrics.cli.comparing import calibrate, compare
from unisim_metrics.cli.options import FORMER_NAMES
from unisim_metrics.cli.terminal import prepare_streams, print_error
from unisim_metrics.errors import UniSimError, errors_of_stores
from unisim_metrics.version import __version__

EXIT_FAILED = 1
EXIT_USAGE = 2


class Program(TyperGroup):
    """Commands whose errors become one line on stderr and an exit status, without a traceback."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the program; what the terminal's encoding lacks ends no run."""
        prepare_streams()
        return super().main(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; wrong arguments end with 2, what the world denies (files, network) with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except ValueError as error:
            print_error(describe(error))
            raise typer.Exit(EXIT_FAILED if isinstance(error, OSError) else EXIT_USAGE) from error
        except errors_of_stores(OSError, ImportError, UniSimError) as error:
            print_error(describe(error))
            raise typer.Exit(EXIT_FAILED) from error


def describe(error: Exception) -> str:
    """Return what to tell of an error; for one of the system its file and reason, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}."
    return str(error)


app = typer.Typer(
    cls=Program,
    help="UniSim: one perceptual similarity metric for images and text. Scores are higher for closer.",
    epilog="Exit status: 0 all done, 1 something could not be read or reached, 2 wrong usage.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: FORMER_NAMES.get(name, name),
    },
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unisim-metrics {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


app.command("score")(score.score)
app.command("rank")(rank.rank)
app.command("compare")(compare.compare)
app.command("calibrate")(calibrate.calibrate)
app.command("models")(models.models)
app.command("convert")(models.convert)
app.command("demo")(demo.demo)
app.command("app")(evaluate_module.app)
app.command("serve")(serve.serve)
app.command("train")(train.train)
app.command("publish")(train.publish)
app.command("install-evaluate")(evaluate_module.install_evaluate)
app.command("publish-evaluate")(evaluate_module.publish_evaluate)
app.add_typer(bench.app, name="bench")
app.add_typer(collection.app, name="collection")


def main() -> None:
    """Run the program."""
    app(prog_name="unisim")
