"""The engine `ray` writes what the local one writes, on two nodes, whoever dies on the way; where Ray is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow
import pytest
from collection_files import encoded, write_folder
from poisoned_decoders import HOW, POISON, environment
from pyarrow import parquet

from unisim_metrics import UniSimScorer, score_collection

# Each takes a while: `UNISIM_TEST_DEATHS=10` tries more moments.
DEATHS = int(os.environ.get("UNISIM_TEST_DEATHS", "2"))
# For machines that do much else.
PATIENCE = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_agent_register_timeout_ms": "300000",
}


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_what_to_install_is_told(tiny_clip_dir: Path, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", encoded(1))
    with pytest.raises(
        ModuleNotFoundError, match=r"The engine 'ray' needs Ray Data: pip install .*'ray\[data\]"
    ):
        score_collection(folder, tmp_path / "out", UniSimScorer(tiny_clip_dir), engine="ray")


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.parametrize(
    ("story", "count", "died"),
    [
        ("plain", 40, 0),
        ("actor", 40, 1),
        ("node", 40, 1),
        ("actors", 12 * DEATHS, DEATHS),
        ("drivers", 12 * DEATHS, DEATHS),
        ("poison", 40, 0),
        ("stored", 40, 1),
    ],
)
def test_the_shards_are_those_of_the_local_engine(
    story: str, count: int, died: int, tiny_clip_dir: Path, tmp_path: Path
) -> None:
    out = "shelf://out" if story == "stored" else "out"
    files = encoded(count, broken=[7])
    if story == "poison":
        files[12] = POISON
    write_folder(tmp_path / "photos", files)
    script = Path(__file__).parent / "ray_collections.py"
    pause = 1 if story in ("actors", "drivers") else 0
    variables = environment(tmp_path / "decoders", pause, ["shelf_store"] if story == "stored" else [])
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_clip_dir), "photos", out, story.replace("stored", "actor")],
        cwd=tmp_path,
        env=variables | {"SHELF": str(tmp_path)} | PATIENCE,
        capture_output=True,
        text=True,
        timeout=2400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    bad = 1 + (story == "poison")
    assert json.loads((tmp_path / "report.json").read_text()) == {"rows": count, "errors": bad, "died": died}
    found = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()}
    if story == "poison":
        reasons = pyarrow.concat_tables(map(parquet.read_table, sorted((tmp_path / "out").glob("part*"))))
        assert reasons["unisim_error"][12].as_py() == f"The process died while reading it: {HOW}."
        (tmp_path / "photos" / "12.png").write_bytes(encoded(1)[0])
        del found["part-00003.parquet"], found["_SUCCESS"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        scorer = UniSimScorer(tiny_clip_dir, batch_size=2, keep_embedding=True)
        score_collection("photos", "local", scorer, rows_per_shard=4)
    local = {file.name: file.read_bytes() for file in (tmp_path / "local").iterdir()}
    assert {name: local[name] for name in found} == found
    assert len(local) == count // 4 + 3
    assert len(found) == len(local) - {"poison": 2, "stored": 1}.get(story, 0)


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_actors_share_the_cores_whatever_the_environment_says(tmp_path: Path) -> None:
    script = (
        "import os, ray, torch; from unisim_metrics.collections.ray_engine import _ShardTask; ray.init(num_cpus=2)\n"
        "def threads(): _ShardTask(None, None, os.getcwd()); return torch.get_num_threads()\n"
        "for cores in (1, 2): print(ray.get(ray.remote(num_cpus=cores)(threads).remote()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | PATIENCE | {"OMP_NUM_THREADS": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "2"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engine": "ray", "devices": ["cpu"]}, "`devices` must be None for the engine 'ray'"),
        ({"engine": "ray", "concurrency": 0}, "`concurrency` must be at least 1"),
        ({"concurrency": 2}, "`concurrency` must be at least 1, and None but for the engine 'ray'"),
    ],
)
def test_what_belongs_to_one_engine(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_collection("a.png", "out", **settings)  # type: ignore[arg-type]
