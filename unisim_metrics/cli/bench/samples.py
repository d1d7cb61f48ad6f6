"""`unisim bench samples`: write down which samples a set is judged on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli.options import ProtocolOption, RootOption, SplitOption
from unisim_metrics.cli.output import check_folder
from unisim_metrics.cli.terminal import print_note

if TYPE_CHECKING:
    from unisim_metrics.benchmark.datasets import Protocol


def samples(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="SET", help="A set, or a .jsonl or .parquet file.", autocompletion=completion.sets
        ),
    ],
    root: RootOption = Path("."),
    split: SplitOption = "test",
    n: Annotated[
        int | None, typer.Option(min=1, help="How many; as many as in the paper if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which draw.")] = 0,
    protocol: ProtocolOption = "paper",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write, one sample a line.")
    ] = None,
) -> None:
    """Print the SHA-256 of a set's samples, and write them as JSON lines, which `--dataset FILE` reads again.

    It is the hash that stands in every result. A retrieval set has queries and a gallery instead of samples:
    only their hash is printed.

    [bold]unisim bench samples kadid-10k --root DATA --output kadid.jsonl[/]
    """
    from unisim_metrics.benchmark import hash_samples, load_dataset
    from unisim_metrics.benchmark.datasets import RetrievalDataset, hash_retrieval
    from unisim_metrics.benchmark.datasets.own import write_json_lines

    if output is not None:
        if output.suffix != ".jsonl":
            raise ValueError(f"Option --output must name a .jsonl file, but got {output}.")
        check_folder(output, "--output")
    loaded = load_dataset(dataset, root, cast("Protocol", protocol))
    if isinstance(loaded, RetrievalDataset):
        if output is not None:
            raise ValueError(
                f"Option --output is not for {loaded.id!r}, which has queries and a gallery instead of samples."
            )
        found = loaded.retrieval()
        typer.echo(hash_retrieval(found, root))
        print_note(f"{len(found.queries)} queries, {len(found.gallery)} images to search")
        return
    drawn = loaded.samples(split, n, seed)
    if output is not None:
        write_json_lines(output, drawn, loaded.task, root, split)
        print_note(f"Wrote {output}")
    typer.echo(hash_samples(drawn, root))
    print_note(f"{len(drawn)} samples of {loaded.id} ({loaded.task})")
