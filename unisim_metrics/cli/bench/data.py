"""`unisim bench data` and `samples`: which sets are there, getting those that the Hub has, and their samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.options import ProtocolOption, RootOption, SplitOption
from unisim_metrics.cli.output import Output, Result, check_folder
from unisim_metrics.cli.terminal import print_note

if TYPE_CHECKING:
    from unisim_metrics.benchmark.datasets import Dataset, Protocol, Split, Status

app = typer.Typer(
    help="The benchmark's data: what is there, and how to get the rest.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# More are counted, not named.
_MOST_NAMED = 2
_MOST_LISTED = 20


DatasetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        help="A set; may be repeated. All sets if left out.",
        autocompletion=completion.sets,
    ),
]


@app.command("list")
def list_sets(
    dataset: DatasetOption = None,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
) -> None:
    """List the sets: task, samples, licence, source.

    [bold]unisim bench data list --format markdown[/]
    """
    destination = Output(form, as_json, as_csv, output)
    destination.check()
    rows = []
    for each in _load(dataset, Path(".")):
        rows.append(
            {
                "dataset": each.id,
                "task": each.task,
                "test": each.size,
                "train": each.train_size or "",
                "folder": _folder(each, "test"),
                "hub": each.hub["test"].repository if "test" in each.hub else "",
                "licence": each.licence,
                "source": each.url,
            }
        )
    destination.write(Result(rows, title=f"{len(rows)} sets"))


@app.command("status")
def status(
    root: RootOption = Path("."),
    dataset: DatasetOption = None,
    split: SplitOption = "test",
    quick: Annotated[
        bool, typer.Option("--quick", help="Look for files and folders, not for each image.")
    ] = False,
    form: opt.FormatOption = None,
    as_json: opt.JsonOption = False,
    as_csv: opt.CsvOption = False,
    output: opt.OutputOption = None,
) -> None:
    """Tell which sets are under the data root, which are incomplete, and how to get what is missing.

    [bold]unisim bench data status --root DATA[/]
    """
    destination = Output(form, as_json, as_csv, output)
    destination.check()
    chosen = [each for each in _load(dataset, root) if dataset or split in each.files]
    found = [(each, each.status(split, images=not quick)) for each in chosen]
    states = [state.state for _, state in found]
    summary = {state: states.count(state) for state in ("present", "incomplete", "missing")}
    rows = [
        {
            "dataset": each.id,
            "state": state.state,
            "images": "" if state.images is None else state.images,
            "not_there": _shorten(state),
            "how_to_get_it": "" if state.state == "present" else _how_to_get(each, split),
        }
        for each, state in found
    ]
    details = [_details(each, split, state) for each, state in found]
    destination.write(
        Result(rows, title=f"{split} samples under {root}", summary={**summary}, json_rows=details)
    )


@app.command("get")
def get(
    datasets: Annotated[
        list[str],
        typer.Argument(metavar="SET…", help="The sets to fetch.", autocompletion=completion.sets),
    ],
    root: RootOption = Path("."),
    split: SplitOption = "test",
    revision: Annotated[
        str | None, typer.Option(help="A commit, tag or branch instead of the one that is pinned.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be fetched.")] = False,
) -> None:
    """Fetch sets from the Hugging Face Hub: a pinned commit, checked; run again to go on after an interruption.

    Sets that the Hub does not have are refused; the message says where to get them. Read their licences.

    [bold]unisim bench data get nights hpdv2 --root DATA[/]
    """
    from unisim_metrics.benchmark.data.downloads import fetch, plan_download

    for each in _load(datasets, root):
        download = plan_download(each, split, revision)
        print_note(f"{each.id}: {download.source.repository} at {download.commit}, licence: {each.licence}")
        for path in download.done:
            print_note(f"  {path} was fetched before")
        for file in download.files:
            print_note(f"  {file.path}, {file.size / 1e6:,.1f} MB")
        if dry_run:
            continue
        fetch(download)
        state = each.status(split, images=True)
        print_note(f"{each.id}: {state.state}{': ' if state.state != 'present' else ''}{_shorten(state)}")


def _load(names: list[str] | None, root: Path) -> list[Dataset]:
    from unisim_metrics.benchmark.datasets import list_datasets, load_dataset

    return [load_dataset(name, root) for name in names or list_datasets()]


def _folder(dataset: Dataset, split: Split) -> str:
    wanted: list[str] = [*dataset.files[split], *dataset.images[split]]
    return ", ".join(sorted({name.split("/")[0] for name in wanted}))


def _how_to_get(dataset: Dataset, split: Split) -> str:
    if split in dataset.hub:
        return f"unisim bench data get {dataset.id}{'' if split == 'test' else f' --split {split}'}"
    return f"{dataset.url} → {_folder(dataset, split)}/"


def _shorten(state: Status) -> str:
    parts = [state.problem] if state.problem is not None else []
    if state.missing_images:
        count = f"{len(state.missing_images)} of {state.images} images"
        parts.append(f"{count} ({state.missing_images[0]}{', …' if len(state.missing_images) > 1 else ''})")
    else:
        more = len(state.missing) - _MOST_NAMED
        parts += [*state.missing[:_MOST_NAMED], *([f"… {more} more"] if more > 0 else [])]
    return ", ".join(parts)


def _details(dataset: Dataset, split: Split, state: Status) -> dict[str, Any]:
    source = dataset.hub.get(split)
    return {
        "dataset": dataset.id,
        "task": dataset.task,
        "split": split,
        "state": state.state,
        "files": list(dataset.files[split]),
        "folders": list(dataset.images[split]),
        "missing": list(state.missing),
        "images": state.images,
        "missing_images": len(state.missing_images),
        "such_as": list(state.missing_images[:_MOST_LISTED]),
        "problem": state.problem,
        "folder": _folder(dataset, split),
        "licence": dataset.licence,
        "url": dataset.url,
        "hub": source.repository if source else None,
        "hub_files": list(source.files) if source else [],
        "revision": source.revision if source else None,
    }


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
