"""Which way imports run: the contracts of `pyproject.toml`, on the package as it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package with its outer rooms inside, and the contracts beside it."""
    ignore = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(ROOT / "unisim_metrics", tmp_path / "unisim_metrics", ignore=ignore)
    for room in ("benchmark", "integrations", "training"):
        shutil.copytree(ROOT / room, tmp_path / "unisim_metrics" / room, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_contracts_are_kept(installed: Path):
    done = lint(installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("maths/ranking.py", "from unisim_metrics.models import load_model", "The maths knows torch alone"),
        (
            "models/hashing.py",
            "from unisim_metrics.metrics import UniSimScore",
            "Rooms know those below them",
        ),
        ("benchmark/samples.py", "from unisim_metrics.training import recipe", "Rooms know those below them"),
        (
            "integrations/arrays.py",
            "from unisim_metrics.benchmark import run",
            "Integrations know nothing of training and benchmark",
        ),
        ("images/resizing.py", "from unisim_metrics.images import preparation", "No circles"),
    ],
)
def test_an_import_the_wrong_way_is_told(installed: Path, file: str, line: str, broken: str):
    path = installed / "unisim_metrics" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n\n{line}\n", encoding="utf-8")
    done = lint(installed)
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(row.startswith(broken) and row.endswith("BROKEN") for row in done.stdout.splitlines())
