"""The package as it is installed: its rooms, and what its import costs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import unisim_metrics

ROOT = Path(__file__).parent.parent
HEAVY = (
    "transformers",
    "peft",
    "open_clip",
    "diffusers",
    "evaluate",
    "matplotlib",
    "torchvision",
    "lightning",
)
ROOMS = ("benchmark", "integrations", "training")


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    return set(done.stdout.splitlines()[-1].split())


def settings() -> dict:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)


def test_import_loads_no_heavy_library():
    assert modules_after("import unisim_metrics").isdisjoint((*HEAVY, "torch", "torchmetrics"))


def test_metrics_load_no_heavy_optional_library():
    heavy_options = set(HEAVY) - {"transformers", "torchvision", "matplotlib"}
    loaded = modules_after("from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore, load_model")
    assert loaded.isdisjoint(heavy_options)


def test_help_needs_no_torch():
    code = (
        "import sys, unisim_metrics.cli as cli\n"
        "for words in (['--help'], ['score', '--help'], ['rank', '--help']):\n"
        "    sys.argv = ['unisim', *words]\n"
        "    try:\n        cli.main()\n"
        "    except SystemExit as end:\n        assert not end.code\n"
    )
    assert modules_after(code).isdisjoint((*HEAVY, "torch", "numpy"))


def test_public_names_are_there():
    assert {name for name in unisim_metrics.__all__ if getattr(unisim_metrics, name, None) is None} == set()
    assert set(unisim_metrics.__all__) <= set(dir(unisim_metrics))
    with pytest.raises(AttributeError, match="no attribute 'UniSimScores'"):
        _ = unisim_metrics.UniSimScores


def test_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="unisim")
    assert command.value == "unisim_metrics.cli:main"


def build(folder: Path, kind: str) -> Path:
    """A wheel or sdist, built from a copy, so that the build leaves nothing in the tree."""
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    source.mkdir()
    for name in ("unisim_metrics", *ROOMS, "docs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    script = f"from setuptools.build_meta import build_{kind}; build_{kind}('..')"
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (path for path in folder.iterdir() if path.is_file())
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel built from this tree."""
    with zipfile.ZipFile(build(tmp_path_factory.mktemp("wheel"), "wheel")) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a source distribution built from this tree, below its top folder."""
    with tarfile.open(build(tmp_path_factory.mktemp("sdist"), "sdist")) as archive:
        return [name.partition("/")[2] for name in archive.getnames()]


def test_every_module_is_in_the_wheel(wheel: list[str]):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "unisim_metrics").rglob("*.py")}
    for room in ROOMS:
        modules |= {
            f"unisim_metrics/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / room).rglob("*.py")
        }
    assert {name for name in wheel if name.endswith(".py")} == modules


def test_neither_wheel_nor_sdist_holds_experiments_or_tests(wheel: list[str], sdist: list[str]):
    assert "setup.py" in sdist and "training/recipe.py" in sdist
    for name in (*wheel, *sdist):
        assert not name.startswith(("docs", "tests")) and "experiments" not in name


def test_wheel_maps_the_rooms(wheel: list[str]):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"unisim_metrics"}
    for room in ROOMS:
        assert f"unisim_metrics/{room}/__init__.py" in wheel
    assert "unisim_metrics/py.typed" in wheel


def test_wheel_holds_data_files(wheel: list[str]):
    recipes = [path.relative_to(ROOT) for path in (ROOT / "training").rglob("*.toml")]
    assert recipes
    assert {f"unisim_metrics/{path.as_posix()}" for path in recipes} <= set(wheel)
    assets = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "unisim_metrics/assets").rglob("*")
        if path.is_file()
    ]
    assert set(assets) <= set(wheel)
