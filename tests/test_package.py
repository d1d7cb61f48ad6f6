"""The package as it is installed: its rooms, and what its import costs."""

from __future__ import annotations

import ast
import subprocess
import sys
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


def test_every_package_is_listed():
    tables = settings()["tool"]["setuptools"]
    found = {
        ".".join(folder.relative_to(ROOT).parts)
        for room in ("unisim_metrics", *ROOMS)
        for folder in [ROOT / room, *(ROOT / room).rglob("*")]
        if (folder / "__init__.py").is_file()
    }
    installed = {name if name.startswith("unisim_metrics") else f"unisim_metrics.{name}" for name in found}
    assert set(tables["packages"]) == installed
    assert all(tables["package-dir"][f"unisim_metrics.{room}"] == room for room in ROOMS)


def test_metrics_do_not_know_the_outer_rooms():
    for path in (ROOT / "unisim_metrics").rglob("*.py"):
        if "cli" in path.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [
                name for name in names if name.startswith(tuple(f"unisim_metrics.{room}" for room in ROOMS))
            ]


def test_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="unisim")
    assert command.value == "unisim_metrics.cli:main"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel built from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A copy, so that the build leaves nothing in the tree.
    tracked = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "unisim_metrics", *ROOMS)
    source.mkdir()
    for name in tracked:
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    build = "from setuptools.build_meta import build_wheel; build_wheel('..')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    if "No module named 'setuptools'" in done.stderr:
        pytest.skip("setuptools is not installed here")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


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
