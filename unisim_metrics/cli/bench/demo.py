"""`unisim bench demo`: the whole benchmark on a small scale, with pictures that are made on the spot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.bench.run import Overwriting, ask, figures_of, tells
from unisim_metrics.cli.output import Output, Result
from unisim_metrics.cli.scoring import pick_device
from unisim_metrics.cli.terminal import print_note
from unisim_metrics.errors import ModelUnavailableError

if TYPE_CHECKING:
    from unisim_metrics.benchmark.results.files import SetResult
    from unisim_metrics.models import PerceptualModel

ALL_SMALL = "all-small"


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for data and results.", file_okay=False)
    ] = Path("bench-demo"),
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", help="A set; may be repeated. All 25 if left out."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A name (see `unisim models`), NAME:FILE, random:NAME, a directory, a Hub id; may be repeated."
            " all-small for the bundled model and every small judge, with random weights where its own cannot be had."
            " The bundled model if left out.",
            autocompletion=completion.models,
        ),
    ] = None,
    n: Annotated[int | None, typer.Option(min=1, help="Samples of each set; all if left out.")] = None,
    device: opt.DeviceOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Which pictures.")] = 0,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
) -> None:
    """Run all 25 sets without any download, in small: photographs that come with scikit-image, and drawn scenes.

    They lie in the layouts of the real sets and are read as those are, but nobody judged them: the figures tell
    whether the benchmark works, and little about a model. So reports set them apart. Of one model each figure is
    printed, of several a table of models by tasks, with a dash where a model does not answer a task. It needs the
    extras benchmark and demo.

    [bold]unisim bench demo --output DIR[/]  ·  [bold]unisim bench demo -m unisim-mini -m liqe:liqe_mix.pt --n 20[/]  ·
    [bold]unisim bench demo -m all-small --n 20[/]
    """
    from unisim_metrics import load_model
    from unisim_metrics.benchmark.demo import write_demo
    from unisim_metrics.benchmark.report import write_report

    destination = Output(form, as_json, as_csv)
    destination.check()
    data, results = write_demo(output / "data", seed, dataset or None), output / "results"
    print_note(f"Wrote the sets to {data}")
    names, rows, failed = list(dict.fromkeys(_named(model or [opt.DEFAULT_MODEL]))), [], False
    for name in names:
        loaded = load_model(name, device=pick_device(device))
        sets = [each for each in dataset if _answers(loaded, each, data)] if dataset else None
        if sets == []:
            raise ValueError(f"Option --dataset names no set that the model {name} answers.")
        settings = {"n": n, "cache": False, "max_lost": 0, "overwrite": Overwriting.ALWAYS.value}
        found, lacking = ask(loaded, sets, data, results=results, **settings)
        failed |= lacking
        rows += figures_of(found) if len(names) == 1 else [_by_task(name, found)]
    if tells():
        title = f"{names[0]}, seed 0" if len(names) == 1 else "The demo by task: shares that are right"
        destination.write(Result(rows, title=title))
        page = write_report(output / "report", [results])[0]
        print_note(f"Results are in {results}, and a report of them in {page}")
    if failed:
        raise typer.Exit(1)


def _named(models: Sequence[str]) -> Iterator[str]:
    """The models that are meant: `all-small` stands for several."""
    from unisim_metrics.models.published import find_weights
    from unisim_metrics.models.registry import REGISTRY

    for model in models:
        if model != ALL_SMALL:
            yield model
            continue
        yield opt.DEFAULT_MODEL
        for entry in REGISTRY.values():
            if entry.small:
                try:
                    find_weights(entry)
                    yield entry.name
                except ModelUnavailableError:
                    print_note(
                        f"The weights of {entry.name} cannot be had here: random ones stand in for them"
                    )
                    yield f"random:{entry.name}"


def _answers(model: PerceptualModel, dataset: str, data: Path) -> bool:
    from unisim_metrics.benchmark import load_dataset
    from unisim_metrics.benchmark.running.abilities import why_not

    return why_not(model, load_dataset(dataset, data).task) is None


def _by_task(name: str, found: Mapping[str, SetResult]) -> dict[str, Any]:
    """A model's mean on each task, None where it answers none of its sets."""
    from unisim_metrics.benchmark.results.summary import summarize, task_means
    from unisim_metrics.benchmark.tasks import TASKS

    means = task_means(found, summarize(found).datasets)
    return {"model": name, **{task.title: means.get(task.id) for task in TASKS}}
