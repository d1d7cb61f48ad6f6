"""Collections with rows that kill the process: the job goes on, and tells of them as of all that cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from collection_files import encode, encoded, write_archive, write_folder
from filelock import FileLock
from oracle import photos
from poisoned_decoders import HOW, POISON, environment
from pyarrow import parquet
from test_image_compatibility import bomb

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections.attempts import has_died
from unisim_metrics.collections.folders import open_folder

SCRIPT = """
import os, sys
from unisim_metrics import UniSimScorer, score_collection

ends = []
while not ends or ends[-1] != 0:
    child = os.fork()
    if not child:
        score_collection("photos", "out", UniSimScorer(sys.argv[1], batch_size=4), rows_per_shard=10)
        os._exit(0)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(ends)
"""


def read(folder: Path) -> dict[str, list]:
    shards = [parquet.read_table(file) for file in sorted(folder.glob("part-*.parquet"))]
    return pyarrow.concat_tables(shards).to_pydict()


def command(model: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "unisim_metrics",
        "score",
        "--model",
        str(model),
        "--engine",
        "local",
        *arguments,
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGSEGV"), reason="needs signals")
def test_every_kind_of_bad_row_among_hundreds_is_named_and_all_else_is_scored(
    tiny_clip_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    files = encoded(12) * 20
    jpeg = encode(photos(1)[0], "JPEG")
    bad = {30: b"no image", 77: jpeg[: len(jpeg) // 2], 131: bomb(), 200: POISON}
    write_folder(tmp_path / "photos", [bad.get(place, content) for place, content in enumerate(files)])
    write_archive(tmp_path / "a.tar", [(f"{n}.png", [*files[:6], POISON][n]) for n in range(7)])
    parquet.write_table(pyarrow.table({"image": [POISON, *files[:3], POISON]}), tmp_path / "a.parquet")
    settings = ["--batch-size", "16", "--rows-per-shard", "100", "--json"]
    done = subprocess.run(
        command(tiny_clip_dir, "photos", "a.tar", "a.parquet", "-o", "out", *settings),
        cwd=tmp_path,
        env=environment(tmp_path / "decoders"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (report,) = json.loads(done.stdout)["results"]
    assert (report["rows"], report["unreadable"], report["shards"]) == (252, 7, 5)
    table = read(tmp_path / "out")
    reasons = {place: reason for place, reason in enumerate(table["unisim_error"]) if reason}
    died = f"The process died while reading it: {HOW}."
    assert list(reasons) == [30, 77, 131, 200, 246, 247, 251]
    assert "30.png' could not be read: not an image" in reasons[30]
    assert "77.png' could not be read" in reasons[77] and "truncated" in reasons[77].lower()
    assert "131.png' could not be read" in reasons[131] and "decompression bomb" in reasons[131]
    assert [reasons[place] for place in (200, 246, 247, 251)] == [died] * 4
    assert table["unisim_source"][200] == "photos/200.png" and table["unisim_key"][246:248] == ["6", "0"]
    scorer = UniSimScorer(tiny_clip_dir, resample="bicubic")
    plain = scorer({"image": files[:12]})["unisim_score"]
    expected = np.concatenate([np.tile(plain, 20), plain[:6], [np.nan], [np.nan], plain[:3], [np.nan]])
    expected[list(reasons)] = np.nan
    np.testing.assert_allclose(table["unisim_score"], expected, atol=2e-6)
    assert not (tmp_path / "out" / ".unisim-work").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_without_a_supervisor_the_fourth_run_knows_what_killed_three(
    tiny_clip_dir: Path, tmp_path: Path
) -> None:
    write_folder(tmp_path / "photos", [*encoded(12), POISON, *encoded(2)])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_clip_dir)],
        cwd=tmp_path,
        env=environment(tmp_path / "decoders"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert json.loads(done.stdout) == [-signal.SIGSEGV] * 3 + [0], done.stderr
    assert [bool(reason) for reason in read(tmp_path / "out")["unisim_error"]].index(True) == 12


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs groups of processes")
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "interrupted"])
def test_a_command_that_is_ended_takes_its_job_along_and_the_next_goes_on(
    is_killed: bool, tiny_clip_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "photos", encoded(10) * 8)
    arguments = ["photos", "--batch-size", "2", "--rows-per-shard", "10", "-o", "out"]
    first = subprocess.Popen(
        command(tiny_clip_dir, *arguments),
        cwd=tmp_path,
        env=environment(tmp_path / "decoders", pause=0.5),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Where the tests themselves run in the background, Ctrl-C is ignored, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    written, begun = tmp_path / "out" / "part-00001.parquet", tmp_path / "out" / ".unisim-work"
    while not (written.exists() and any(begun.glob("00002-*.attempt"))):
        assert first.poll() is None
        time.sleep(0.01)
    if is_killed:
        first.kill()
    else:
        os.killpg(first.pid, signal.SIGINT)  # as Ctrl-C does
    assert first.wait() != 0
    with FileLock(tmp_path / "out" / ".unisim.lock", timeout=60):
        pass
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert has_died(open_folder(tmp_path / "out")) is is_killed
    monkeypatch.chdir(tmp_path)
    scorer = UniSimScorer(tiny_clip_dir, resample="bicubic", batch_size=2)
    assert score_collection("photos", "out", scorer, rows_per_shard=10).skipped >= 2
    score_collection("photos", "whole", scorer, rows_per_shard=10)
    out, whole = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("out", "whole")
    )
    assert out == whole and len(whole) == 8 + 3


def test_supervised_and_not_the_shards_are_the_same(tiny_clip_dir: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", encoded(7, broken=[3]))
    seen: list[int] = []
    scorer = UniSimScorer(tiny_clip_dir, batch_size=2, device="cpu")
    plain = score_collection(folder, tmp_path / "plain", scorer, rows_per_shard=3)
    report = score_collection(
        folder,
        tmp_path / "out",
        scorer,
        rows_per_shard=3,
        supervised=True,
        progress=lambda progress: seen.append(progress.rows),
    )
    assert (report.rows, report.errors, report.signature) == (plain.rows, plain.errors, plain.signature)
    assert seen[0] == 2 and seen[-1] == 7
    with pytest.raises(ValueError, match="must be a folder of the same signature"):
        score_collection(folder, tmp_path / "out", scorer.replaced(method="clip-iqa"), supervised=True)
    with pytest.raises(ValueError, match=r"Nothing that can be scored matches"):
        score_collection(f"{tmp_path}/*.png", tmp_path / "other", scorer, supervised=True)
