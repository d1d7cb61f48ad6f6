"""The lists of samples are the same on any machine: pinned, and drawn again in other processes and other Pythons."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from benchmark_data import draw, write_benchmark, write_imagereward
from set_oracles import PAPER, TRAINED

import unisim_metrics.benchmark

SPLITS = [f"{name}/{split}" for name in PAPER for split in ("test", "train")[: 1 + (name in TRAINED)]]

# What a published result stands on: a change here is a change of the benchmark.
PINNED = {
    "nights/test": "b5db90a1ebcfe060",
    "nights/train": "85e87f511b713f4b",
    "bapps/test": "c369722723e9776d",
    "pieapp-2afc/test": "310ccbbd937823d9",
    "pieapp-2afc/train": "5dd3947218348479",
    "imagereward/test": "6abd3506e091e767",
    "hpdv2/test": "86ec0ed4504e653b",
    "hpdv2/train": "8def77f4da624d39",
    "agiqa-3k-alignment/test": "5a68d40742ec0609",
    "magicbrush/test": "3a6476f5db3027b4",
    "magicbrush/train": "9cba5c1437a57c64",
    "hq-edit-images/test": "552cdaa4200f63dc",
    "hq-edit-images/train": "4bc77f06879dd442",
    "cd-coco/test": "6fa3d157bc93f1ab",
    "polaris/test": "4ccd30c4d085fcdf",
    "polaris/train": "31cf4370d3a1373a",
    "hq-edit-captions/test": "d607723c59190260",
    "hq-edit-captions/train": "1d53c6e645f94032",
    "kadid-10k/test": "156cbbf2c7e688cd",
    "kadid-10k/train": "8285ec0b4da59a9c",
    "koniq-10k/test": "a27f9734f43fe062",
    "pieapp-iqa/test": "52d4fc16658a7ce1",
    "pieapp-iqa/train": "167ba4b998388394",
    "agiqa-3k-quality/test": "660e9c003f4d2e1e",
    "pipal/test": "b13fecc2c06c1c41",
    "pipal/train": "2af8645e92eb35e2",
    "sice-brightness/test": "50ff5e00060744ac",
    "koniq-brightness/test": "ba63e252522334b1",
    "koniq-colorfulness/test": "9d47bfd898e853c2",
    "koniq-contrast/test": "f15ea0fb5395bef1",
    "koniq-sharpness/test": "6ce48de1b0ddb769",
    "cifar-100-ooo/test": "8a320b1fc7dbaa27",
    "imagenet-ooo/test": "8c5100fb2e9348b0",
    "roxford/test": "a89e00dbd8faa06a",
    "rparis/test": "7547f04abecff582",
}

DRAW = """
import sys
from importlib.util import find_spec
from pathlib import Path
try:
    import numpy, PIL
except ImportError:
    sys.exit(9)
from benchmark_data import draw
for pair in sys.argv[2:]:
    if find_spec("pyarrow") or "imagereward" not in pair:
        print(pair, draw(pair, Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    root = write_benchmark(tmp_path_factory.mktemp("data"))
    write_imagereward(root)
    return root


@pytest.fixture(scope="module")
def hashes(root: Path) -> dict[str, str]:
    return {pair: draw(pair, root) for pair in SPLITS}


def test_lists_are_pinned(hashes: dict[str, str]) -> None:
    assert len(hashes) == 35
    assert {pair: digest[:16] for pair, digest in hashes.items()} == PINNED


@pytest.mark.parametrize(("kind", "workers"), [("threads", 2), ("processes", 1), ("processes", 2)])
def test_lists_do_not_depend_on_workers(root: Path, hashes: dict[str, str], kind: str, workers: int) -> None:
    pool: Executor
    if kind == "threads":
        pool = ThreadPoolExecutor(workers)
    else:
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    with pool:
        drawn = dict(zip(SPLITS, pool.map(draw, SPLITS, [root] * len(SPLITS)), strict=True))
    assert drawn == hashes


@pytest.fixture(scope="module")
def importable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a folder that any Python can import from: its outer rooms are mapped when it is installed."""
    folder = tmp_path_factory.mktemp("path")
    package = folder / "unisim_metrics"
    package.mkdir()
    for path in Path(unisim_metrics.__file__).parent.iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path)
    if not (package / "benchmark").exists():
        (package / "benchmark").symlink_to(Path(unisim_metrics.benchmark.__file__).parent)
    return folder


def drawn_by(
    program: str, pairs: list[str], root: Path, importable: Path, hash_seed: str
) -> dict[str, str] | None:
    """The hashes that a Python finds, or None if it cannot run or has no NumPy or no Pillow."""
    path = os.pathsep.join([str(importable), str(Path(__file__).parent)])
    done = subprocess.run(
        [program, "-B", "-c", DRAW, str(root), *pairs],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
        cwd=importable,
        capture_output=True,
        text=True,
    )
    # 127 is the answer of a shim whose version is not switched on.
    if done.returncode in (9, 127):
        return None
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_lists_do_not_depend_on_the_process(
    root: Path, hashes: dict[str, str], importable: Path, hash_seed: str
) -> None:
    assert drawn_by(sys.executable, SPLITS, root, importable, hash_seed) == hashes


@pytest.mark.parametrize("python", ["python3.10", "python3.11", "python3.12", "python3.13"])
def test_lists_do_not_depend_on_python(
    root: Path, hashes: dict[str, str], importable: Path, python: str
) -> None:
    program = shutil.which(python)
    # SICE has its pictures for annotations, and reading them needs torch.
    pairs = [pair for pair in SPLITS if "sice" not in pair]
    drawn = drawn_by(program, pairs, root, importable, "1") if program is not None else None
    if drawn is None:
        pytest.skip(f"no {python} with NumPy and Pillow on the PATH")
    assert drawn == {pair: hashes[pair] for pair in drawn}
    assert set(pairs) - set(drawn) <= {"imagereward/test"}
