"""`unisim score --engine` and `unisim collection`, as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from collection_files import encoded, write_folder
from command_line import unisim

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.cli.collection import parse_share


@pytest.fixture
def photos_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "photos", encoded(8))


@pytest.fixture
def model(tiny_clip_dir: Path) -> tuple[str, ...]:
    return "--model", str(tiny_clip_dir), "--batch-size", "3"


def test_scores_of_a_folder_are_those_without_an_engine(photos_folder: Path, model: tuple[str, ...]) -> None:
    plain = json.loads(unisim("score", "photos", *model, "--json").out)
    run = unisim("score", "photos", *model, "--engine", "local", "-o", "out", "--rows-per-shard", 3, "--json")
    assert run.status == 0, run.err
    report = json.loads(run.out)
    assert report["signature"] == plain["signature"]
    assert (report["results"][0]["rows"], report["results"][0]["shards"]) == (8, 3)
    summary = json.loads(unisim("collection", "summarize", "out", "--above", "-1", "--json").out)
    assert summary["signature"] == plain["signature"]
    (figures,) = summary["results"]
    assert figures["scored"] == 8 and figures["share from -1"] == 1
    assert figures["mean"] == pytest.approx(plain["mean"], abs=1e-6)
    assert sum(summary["histogram"]["bars"]) == 8


def test_the_best_of_a_folder(photos_folder: Path, model: tuple[str, ...]) -> None:
    from pyarrow import parquet

    unisim("score", "photos", *model, "--engine", "local", "-o", "out", "--text", "a red cat")
    run = unisim("collection", "filter", "out", "--top", "25%", "-o", "best.parquet")
    assert (run.status, run.out) == (0, "Wrote 2 rows to best.parquet\n")
    metric = UniSimScore(load_model(model[1]), reduction="none")
    paths = [Path("photos") / f"{number}.png" for number in range(8)]
    metric.update(paths, "a red cat")
    scores = dict(zip(map(str, paths), metric.compute().tolist(), strict=True))
    best = sorted(sorted(scores, key=lambda path: -scores[path])[:2])
    assert parquet.read_table("best.parquet")["unisim_source"].to_pylist() == best


def test_what_cannot_be_read_ends_with_status_1(photos_folder: Path, model: tuple[str, ...]) -> None:
    (photos_folder / "3.png").write_bytes(b"")
    run = unisim("score", "photos", *model, "--engine", "local", "-o", "out")
    assert run.status == 1 and "unisim collection summarize out" in run.err
    table = unisim("collection", "summarize", "out").out
    assert "unreadable" in table and table.count(" … ") == 20
    stopped = unisim("score", "photos", *model, "--engine", "local", "-o", "again", "--max-bad", 0)
    assert stopped.status == 1 and "more than the 0 allowed" in stopped.err
    other = unisim("score", "photos", *model, "--engine", "local", "-o", "out", "--task", "contrast")
    assert other.status == 2 and "must be a folder of the same signature" in other.err


def test_who_waits_for_the_job_loads_nothing_for_it(photos_folder: Path, model: tuple[str, ...]) -> None:
    program = (
        "import sys\n"
        "from unisim_metrics.cli import app\n"
        "status = app(standalone_mode=False)\n"
        "print(status, sorted({'torch', 'pyarrow', 'numpy', 'PIL'} & sys.modules.keys()))\n"
    )
    arguments = ["score", "photos", *model, "--engine", "local", "-o", "out", "--json"]
    with open("printed", "w") as printed:  # a pipe would end with the last of the processes
        subprocess.run(
            [sys.executable, "-c", program, *arguments],
            stdout=printed,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    told = Path("printed").read_text()
    assert told.splitlines()[-1] == "None []", told
    assert Path("out/_SUCCESS").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-bad", 3], "Option --max-bad goes with --engine"),
        (["--keep-column", "id"], "Option --keep-column goes with --engine"),
        (["--keep-embedding"], "Option --keep-embedding goes with --engine"),
        (["--engine", "local", "-o", "out", "--concurrency", 2], "None but for the engine 'ray'"),
        (["--engine", "local"], "Option --output must name a folder"),
        (["--engine", "slurm", "-o", "out"], "`engine` must be one of"),
        (["--engine", "local", "-o", "out", "--text", " "], "blank"),
        (["--engine", "local", "-o", "out", "--save-figure", "a.png"], "must not be given with --engine"),
        (["--engine", "local", "-o", "out", "--calibration", __file__], "must not be given with --engine"),
        (["--engine", "local", "-o", "out", "--device", "nowhere"], "must name a device"),
    ],
)
def test_wrong_options(
    photos_folder: Path, model: tuple[str, ...], arguments: list[Any], message: str
) -> None:
    run = unisim("score", "photos", *model, *arguments)
    assert run.status == 2 and message in " ".join(run.err.split())


@pytest.mark.parametrize(("text", "share"), [("30%", 0.3), ("0.3", 0.3), ("100 %", 1), (".5", 0.5), ("1", 1)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "30", "0", "0%", "101%", "-1%", "a third"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="must be a share such as 30% or"):
        parse_share(text)
