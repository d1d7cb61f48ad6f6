"""`unisim bench demo`: the whole benchmark on a small scale, with pictures that are made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import options as opt
from unisim_metrics.cli.bench.run import Overwriting, run
from unisim_metrics.cli.terminal import print_note


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for data and results.", file_okay=False)
    ] = Path("bench-demo"),
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", help="A set; may be repeated. All 25 if left out."),
    ] = None,
    model: opt.ModelOption = opt.DEFAULT_MODEL,
    device: opt.DeviceOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Which pictures.")] = 0,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
) -> None:
    """Run all 25 sets without any download, in small: photographs that come with scikit-image, and drawn scenes.

    They lie in the layouts of the real sets and are read as those are, but nobody judged them: the figures tell
    whether the benchmark works, and little about a model. So reports set them apart. It needs the extras benchmark and
    demo.

    [bold]unisim bench demo --output DIR[/]  ·  [bold]unisim bench report --results DIR/results[/]
    """
    from unisim_metrics.benchmark.demo import write_demo

    data = write_demo(output / "data", seed, dataset or None)
    print_note(f"Wrote the sets to {data}")
    run(
        model,
        root=data,
        dataset=dataset,
        task=None,
        results=output / "results",
        split="test",
        n=None,
        seed=0,
        workers=None,
        batch_size=None,
        device=device,
        demonstrations=0,
        max_lost=0,
        overwrite=Overwriting.ALWAYS,
        no_cache=True,
        form=form,
        as_json=as_json,
        as_csv=as_csv,
    )
