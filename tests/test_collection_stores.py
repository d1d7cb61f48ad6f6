"""Scores written to object stores: the same bytes as on a disk, and the same way on after every end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pytest
import shelf_store
from collection_files import encoded, write_archive, write_folder
from command_line import unisim
from fsspec.implementations.memory import MemoryFileSystem
from poisoned_decoders import HOW, POISON, environment
from pyarrow import parquet

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections import filter_collection, summarize_collection
from unisim_metrics.collections.attempts import Attempts, has_died
from unisim_metrics.collections.folders import open_folder

OUT = "memory://bucket/scored"


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """A store of this process, which is empty."""
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


@pytest.fixture
def scorer(tiny_clip_dir: Path) -> UniSimScorer:
    return UniSimScorer(tiny_clip_dir, batch_size=2, device="cpu", keep_embedding=True)


def objects(store: Any, folder: str = "/bucket/scored") -> dict[str, bytes]:
    """All that stands below a name."""
    found = store.find(folder)
    return {name.removeprefix(folder + "/"): store.cat_file(name) for name in found}


def files(folder: Path) -> dict[str, bytes]:
    """All that stands in a folder, but for its lock."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != ".unisim.lock"}


@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_store_gets_what_a_folder_gets(
    count: int, store: MemoryFileSystem, scorer: UniSimScorer, tmp_path: Path
) -> None:
    photos = write_folder(tmp_path / "photos", encoded(count, broken=[count // 2]))
    on_disk = score_collection(photos, tmp_path / "out", scorer, rows_per_shard=3)
    stored = score_collection(photos, OUT, scorer, rows_per_shard=3)
    assert stored.output == OUT and (stored.rows, stored.errors) == (on_disk.rows, on_disk.errors)
    assert objects(store) == files(tmp_path / "out")
    assert summarize_collection(OUT) == summarize_collection(tmp_path / "out")
    for place, name in ((OUT, "a.parquet"), (tmp_path / "out", "b.parquet")):
        filter_collection(place, tmp_path / name, above=-1)
    assert parquet.read_table(tmp_path / "a.parquet") == parquet.read_table(tmp_path / "b.parquet")


def test_a_url_of_the_disk_is_the_folder(scorer: UniSimScorer, tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", encoded(2))
    assert score_collection(photos, f"file://{tmp_path}/out", scorer).output == tmp_path / "out"
    assert score_collection(photos, tmp_path / "out", scorer).skipped == 1


def test_what_is_missing_or_torn_is_made_again(
    store: MemoryFileSystem, scorer: UniSimScorer, tmp_path: Path
) -> None:
    photos = write_folder(tmp_path / "photos", encoded(11))
    score_collection(photos, OUT, scorer, rows_per_shard=3)
    whole = objects(store)
    store.rm_file("/bucket/scored/_SUCCESS")
    store.rm_file("/bucket/scored/part-00002.parquet")
    torn = "/bucket/scored/part-00001.parquet"
    store.pipe_file(torn, whole["part-00001.parquet"][:-100])
    assert not summarize_is_possible(OUT)
    report = score_collection(photos, OUT, scorer, rows_per_shard=3)
    assert (report.shards, report.skipped) == (4, 2)
    assert objects(store) == whole


def summarize_is_possible(folder: str) -> bool:
    try:
        summarize_collection(folder)
    except OSError:
        return False
    return True


def test_other_settings_inputs_and_a_second_job_are_refused(
    store: MemoryFileSystem, scorer: UniSimScorer, tmp_path: Path
) -> None:
    photos = write_folder(tmp_path / "photos", encoded(4))
    refused = []

    def start_another(_: object) -> None:
        with pytest.raises(BlockingIOError, match="no other job is writing to, but one works in memory://"):
            score_collection(photos, OUT, scorer, rows_per_shard=2)
        refused.append(True)

    score_collection(photos, OUT, scorer, rows_per_shard=2, progress=start_another)
    assert refused
    whole = objects(store)
    with pytest.raises(ValueError, match="folder of the same signature, but memory://bucket/scored"):
        score_collection(photos, OUT, scorer.replaced(method="clip-iqa"), rows_per_shard=2)
    with pytest.raises(ValueError, match="folder of the same inputs"):
        score_collection(write_folder(tmp_path / "others", encoded(4)), OUT, scorer, rows_per_shard=2)
    with pytest.raises(ValueError, match=r"memory://bucket/scored/part-00001\.parquet is of more"):
        (photos / "3.png").unlink()
        (photos / "2.png").unlink()
        score_collection(photos, OUT, scorer, rows_per_shard=2)
    assert objects(store) == whole
    store.pipe_file("/bucket/other/notes.txt", b"mine")
    with pytest.raises(ValueError, match=r"memory://bucket/other holds no _unisim\.json"):
        score_collection(photos, "memory://bucket/other", scorer)
    with pytest.raises(ValueError, match=r"has no part-\*\.parquet, nor _unisim\.json"):
        summarize_collection("memory://bucket/none")


def test_a_store_that_does_not_answer_ends_the_job_and_costs_nothing(
    store: MemoryFileSystem, scorer: UniSimScorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_folder(tmp_path / "photos", encoded(8))
    put, opened = MemoryFileSystem.put_file, MemoryFileSystem._open

    def put_few(self: MemoryFileSystem, lpath: str, rpath: str, **settings: Any) -> None:
        if rpath.endswith("part-00002.parquet"):
            raise TimeoutError("The store does not answer.")
        put(self, lpath, rpath, **settings)

    def open_few(self: MemoryFileSystem, path: str, *arguments: Any, **settings: Any) -> Any:
        if path.endswith("part-00001.parquet"):
            raise TimeoutError("The store does not answer.")
        return opened(self, path, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", put_few)
        with pytest.raises(TimeoutError):
            score_collection(photos, OUT, scorer, rows_per_shard=2)
    assert set(objects(store)) == {"_unisim.json", "part-00000.parquet", "part-00001.parquet"}
    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "_open", open_few)
        with pytest.raises(OSError, match="does not answer"):
            score_collection(photos, OUT, scorer, rows_per_shard=2)
    assert score_collection(photos, OUT, scorer, rows_per_shard=2).skipped == 2
    score_collection(photos, tmp_path / "out", scorer, rows_per_shard=2)
    assert objects(store) == files(tmp_path / "out")


def test_a_mark_in_a_store_is_seldom_written_and_tells_of_all_rows_in_work(
    store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = MemoryFileSystem.put_file
    written = []

    def count(self: MemoryFileSystem, *arguments: Any, **settings: Any) -> None:
        written.append(arguments)
        put(self, *arguments, **settings)

    monkeypatch.setattr(MemoryFileSystem, "put_file", count)
    folder = open_folder(OUT)
    attempts = Attempts(folder.within(".unisim-work"), 3, "now")
    attempt = attempts.begin()
    assert has_died(folder) and attempts.calls_for_search
    size, batches = 32, 400
    done = 0
    for place, _ in enumerate(attempt.watch(iter(range(batches)), size)):
        first, behind = attempts.suspects()
        assert behind is not None and first <= done and behind >= (place + 1) * size
        attempt.finish(size)
        done += size
    assert first > 0 and len(written) < 10
    attempt.end()
    assert not has_died(folder) and attempts.died == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_jobs_that_are_killed_end_with_the_bytes_of_one_undisturbed(
    tiny_clip_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELF", str(tmp_path / "shelf"))
    source = write_folder(tmp_path / "photos", encoded(9, broken=[7]))
    write_archive(source / "a.tar", [(f"{n}.png", data) for n, data in enumerate(encoded(5, seed=1))])
    parquet.write_table(pyarrow.table({"image": encoded(3, seed=2)}), source / "a.parquet")
    script = Path(__file__).parent / "interrupted_collections.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_clip_dir), str(source), "shelf://bucket", "4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    killed = json.loads(done.stdout)
    shelf = shelf_store.Shelf()
    places = [str(tmp_path / "shelf" / "bucket" / f"{number:02}") for number in range(len(killed))]
    whole = objects(shelf, places[0])
    assert killed[0] == 0 and sum(killed) >= 4 and len(whole) == 4 + 2
    assert all(objects(shelf, place) == whole for place in places)


def test_a_row_that_kills_its_reader_is_found_from_the_marks_in_a_store(
    tiny_clip_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "photos", [*encoded(5), POISON, *encoded(2)])
    monkeypatch.setenv("SHELF", str(tmp_path / "shelf"))
    variables = environment(tmp_path / "decoders", modules=["shelf_store"])
    options = ["--engine", "local", "--batch-size", "2", "--rows-per-shard", "4", "-o", "shelf://bucket/out"]
    with (tmp_path / "printed").open("w") as printed:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "unisim_metrics",
                "score",
                "photos",
                "--model",
                str(tiny_clip_dir),
                *options,
            ],
            cwd=tmp_path,
            env=variables,
            stdout=printed,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
    told = (tmp_path / "printed").read_text()
    assert done.returncode == 1, told
    assert "unisim collection summarize shelf://bucket/out" in " ".join(told.split())
    shards = sorted((tmp_path / "shelf" / "bucket" / "out").glob("part-*"))
    reasons = [reason for file in shards for reason in parquet.read_table(file)["unisim_error"].to_pylist()]
    assert reasons == [*[""] * 5, f"The process died while reading it: {HOW}.", *[""] * 2]
    assert not list((tmp_path / "shelf").rglob("*.attempt"))


def test_the_commands_on_s3(tiny_clip_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server", reason="needs a server of S3: pip install 'moto[server]'")
    s3fs = pytest.importorskip("s3fs")
    running = server.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        store = s3fs.S3FileSystem()
        store.mkdir("bucket")
        write_folder(tmp_path / "photos", encoded(5))
        arguments = ("score", "photos", "--model", tiny_clip_dir, "--engine", "local", "--rows-per-shard", 2)
        for place in ("s3://bucket/a/scored", "out"):
            run = unisim(*arguments, "-o", place)
            assert run.status == 0 and f"Scored into {place}" in run.out
        assert objects(store, "bucket/a/scored") == files(tmp_path / "out")
        again = json.loads(unisim(*arguments, "-o", "s3://bucket/a/scored", "--json").out)
        assert again["results"][0]["made before"] == 3
        summary = json.loads(unisim("collection", "summarize", "s3://bucket/a/scored", "--json").out)
        assert summary == json.loads(unisim("collection", "summarize", "out", "--json").out)
        best = unisim("collection", "filter", "s3://bucket/a/scored", "--top", "40%", "-o", "best.parquet")
        assert best.out == "Wrote 2 rows to best.parquet\n"
        lost = unisim(*arguments, "-o", "s3://no-such-bucket/scored")
        assert lost.status == 1 and "bucket" in lost.err
    finally:
        running.stop()
