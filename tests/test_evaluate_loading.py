"""Where `evaluate.load` finds the module: in a checkout, in an installation, by its bare name, on the Hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import Hub
from packaging.requirements import Requirement

import unisim_metrics
from unisim_metrics.cli import app
from unisim_metrics.installation import install_extra
from unisim_metrics.integrations.evaluate.publication import FILES, Publication

ROOT = Path(__file__).parent.parent
FOLDER = Path(unisim_metrics.evaluate_path())
GIT = "git+https://example.org/unisim-metrics"
FLAGS = ("HF_EVALUATE_OFFLINE", "HF_HUB_OFFLINE", None)

# No socket leaves this machine. Every line of the output is a name, and what came of loading it.
HEAD = """
import json, socket
connect = socket.socket.connect
def refuse(self, address):
    if address[0] != "127.0.0.1":
        raise OSError("no network")
    return connect(self, address)
def look_up(host, *arguments, **settings):
    if host != "127.0.0.1":
        raise socket.gaierror("no network")
    return resolve(host, *arguments, **settings)
resolve, socket.getaddrinfo, socket.socket.connect = socket.getaddrinfo, look_up, refuse

import evaluate, unisim_metrics
from PIL import Image
from unisim_metrics.cli import app

def load(name):
    try:
        module = evaluate.load(name, "image-image")
    except (FileNotFoundError, ConnectionError) as error:
        result = type(error).__name__
    else:
        image = Image.new("RGB", (32, 32), "red")
        result = module.compute(predictions=[image], references=[image]) | {"from": type(module).__module__}
    print(json.dumps([name, result]), flush=True)

def run(*words):
    assert not app(list(words), prog_name="unisim", standalone_mode=False)

CHECKOUT, INSTALLED = "integrations/evaluate_modules/unisim", unisim_metrics.evaluate_path()
"""
LOADING = """
for name in (CHECKOUT, INSTALLED, "unisim"):
    load(name)
run("install-evaluate")
run("install-evaluate")
load("unisim")
run("install-evaluate", "--remove")
load("unisim")
run("install-evaluate", "--remove")
"""
PUBLISHING = """
run("publish-evaluate", "acme", "--private", "--package", "git+https://example.org/unisim-metrics")
run("publish-evaluate", "acme", "--package", "git+https://example.org/unisim-metrics")
load("acme/unisim")
run("install-evaluate")
load("unisim")
"""


def python(script: str, home: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a script with caches of its own."""
    offline = {"HF_EVALUATE_OFFLINE", "HF_HUB_OFFLINE"}
    kept = {name: value for name, value in os.environ.items() if name not in offline}
    environment = {**kept, "HF_HOME": str(home), "OMP_NUM_THREADS": "1", **variables}
    # A file, so that the packages of the working directory do not come before those of the path.
    home.mkdir(exist_ok=True)
    (home / "script.py").write_text(HEAD + script, encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(home / "script.py")]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[list[Any], str]:
    """What a script printed: what came of loading, and its notes."""
    with process:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()], err


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel of this tree: what an installation holds."""
    folder = tmp_path_factory.mktemp("installation")
    source = folder / "source"
    source.mkdir()
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "unisim_metrics",
        "benchmark",
        "integrations",
        "training",
        "setup.py",
        "MANIFEST.in",
    ):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    build = "from setuptools.build_meta import build_wheel; build_wheel('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def loaded(
    installation: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str | None, tuple[list[Any], str, Path]]:
    """What came of loading the module in every way, with each offline flag and with none."""
    homes = {flag: tmp_path_factory.mktemp("home") for flag in FLAGS}
    processes = {
        flag: python(LOADING, homes[flag], PYTHONPATH=str(installation), **({flag: "1"} if flag else {}))
        for flag in FLAGS
    }
    return {flag: (*finish(process), homes[flag]) for flag, process in processes.items()}


@pytest.mark.parametrize("flag", FLAGS)
def test_loads_in_every_way_without_a_network(loaded, installation, flag):
    results, notes, home = loaded[flag]
    checkout, installed, before, bare, after = results
    expected = unisim_metrics.UniSimScore(task="image-image").signature
    path = installation / "unisim_metrics/integrations/evaluate_modules/unisim"
    for (name, result), wanted in zip(
        (checkout, installed, bare),
        ("integrations/evaluate_modules/unisim", str(path), "unisim"),
        strict=True,
    ):
        assert name == wanted
        assert result["mean"] == pytest.approx(1, abs=1e-5)
        assert result["signature"] == expected
    assert all((path / name).is_file() for name in FILES)
    assert ".evaluate-metric--unisim." in bare[1]["from"]
    assert before == after == ["unisim", "FileNotFoundError"]
    assert notes.count("Wrote") == 2
    assert notes.count("Removed") == 1
    assert "Nothing was installed." in notes
    assert not list(home.rglob("*evaluate-metric--unisim*"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", tokens={"acmes-token": "acme"})
    with hub.serve():
        yield hub


def small_wheel(folder: Path) -> Path:
    """A wheel of this package's name and version that holds one line."""
    version = unisim_metrics.__version__
    wheel = folder / f"unisim_metrics-{version}-py3-none-any.whl"
    about = f"unisim_metrics-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("unisim_metrics.py", "published = True\n")
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: unisim-metrics\nVersion: {version}\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return wheel


def test_a_space_installs_the_wheel_that_went_into_it(hub, tmp_path):
    wheel = small_wheel(tmp_path)
    settings = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "acmes-token", "HF_HUB_DISABLE_XET": "1"}
    finish(
        python(f"run('publish-evaluate', 'acme', '--package', {str(wheel)!r})", tmp_path / "home", **settings)
    )
    space = hub.files("spaces/acme/unisim")
    assert {path.name for path in space.iterdir()} == {
        *FILES,
        "requirements.txt",
        wheel.name,
        ".gitattributes",
    }
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    requirements = ["--requirement", str(space / "requirements.txt")]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), *requirements], check=True)
    assert (tmp_path / "site/unisim_metrics.py").read_text(encoding="utf-8") == "published = True\n"


def test_published_space_is_loaded_and_a_canonical_one_comes_first(hub, tmp_path):
    canonical = tmp_path / "canonical"
    canonical.mkdir()
    script = (FOLDER / "unisim.py").read_text(encoding="utf-8")
    (canonical / "unisim.py").write_text(script + "\n# the canonical one\n", encoding="utf-8")
    hub.add("spaces/evaluate-metric/unisim", canonical)
    settings = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "acmes-token", "HF_HUB_DISABLE_XET": "1"}
    results, notes = finish(python(PUBLISHING, tmp_path / "home", **settings))

    assert hub.is_private("spaces/acme/unisim")
    first, *later = [commit["title"] for commit in reversed(hub.commits("spaces/acme/unisim"))]
    assert first == "initial commit"
    assert set(later) == {f"unisim-metrics {unisim_metrics.__version__}"}
    space = hub.files("spaces/acme/unisim")
    assert {path.name for path in space.iterdir()} == {*FILES, "requirements.txt", ".gitattributes"}
    assert all((space / name).read_bytes() == (FOLDER / name).read_bytes() for name in FILES)
    assert f"Wrote {hub.address}/spaces/acme/unisim/commit/" in notes

    (_, published), (_, bare) = results
    assert ".acme--unisim." in published["from"]
    assert published["mean"] == pytest.approx(1, abs=1e-5)
    ours = Path(json.loads(json.dumps(bare["from"])).split(".")[-2])
    modules = tmp_path / "home/modules/evaluate_modules/metrics/evaluate-metric--unisim"
    assert "# the canonical one" in (modules / ours / "unisim.py").read_text(encoding="utf-8")


@pytest.fixture
def unisim(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs `unisim` with arguments: its status, and all that it printed."""

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            app(list(words), prog_name="unisim")
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out + captured.err

    return run


def test_dry_run_tells_what_would_be_written(unisim):
    status, printed = unisim("publish-evaluate", "acme", "--private", "--dry-run", "--package", GIT)
    assert status == 0
    requirement = f"unisim-metrics[evaluate] @ {GIT}\n"
    assert re.search(rf"requirements\.txt +{len(requirement)}\b", printed)
    assert "acme/unisim" in printed
    assert "Nothing was written. It would be a private Space" in printed
    for name in FILES:
        assert re.search(rf"{name} +{(FOLDER / name).stat().st_size}\b", printed)


@pytest.mark.parametrize(
    ("organisation", "status", "message"),
    [
        (
            "acme/metrics",
            2,
            "`organisation` must be a user or an organisation of the Hub, but got 'acme/metrics'",
        ),
        ("acme", 1, "`acme/unisim` could not be written"),  # the tests run offline
    ],
)
def test_what_cannot_be_published_is_told(unisim, organisation, status, message):
    ended, printed = unisim("publish-evaluate", organisation, "--package", GIT)
    assert ended == status
    assert message in " ".join(printed.split())


@pytest.mark.parametrize("words", [["install-evaluate"], ["install-evaluate", "--remove"]])
def test_missing_extra_is_told(unisim, monkeypatch, words):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    status, printed = unisim(*words)
    assert status == 1
    assert install_extra("evaluate") in " ".join(printed.split())


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (None, "`package` must tell where the Space installs unisim-metrics from"),
        ("dist/none.whl", "there is no file dist/none.whl"),
        (str(ROOT / "README.md"), "must be an address or a wheel, but got"),
    ],
)
def test_a_space_is_not_published_without_a_package_to_install(package, message):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        Publication.of("acme", package)


def test_a_wheel_of_another_package_or_version_is_refused(tmp_path):
    for name in ("unisim_metrics-0.0.1-py3-none-any.whl", "other-1.0-py3-none-any.whl"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(
            ValueError, match=f"must be a wheel of unisim-metrics {unisim_metrics.__version__}"
        ):
            Publication.of("acme", str(tmp_path / name))


def test_a_private_space_does_not_install_a_wheel_out_of_itself(tmp_path):
    publication = Publication.of("acme", str(small_wheel(tmp_path)))
    with pytest.raises(ValueError, match="must be an address for a private Space"):
        publication.publish(private=True)


def test_everything_that_makes_the_space_is_there():
    publication = Publication.of("acme", GIT)
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == set(FILES)
    requirements = publication.files.pop("requirements.txt")
    assert publication.files == {name: FOLDER / name for name in FILES}
    _, header, card = (FOLDER / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    settings = yaml.safe_load(header)
    assert settings["sdk"] == "gradio"
    assert (FOLDER / settings["app_file"]).is_file()
    assert {"evaluate", "metric"} <= set(settings["tags"])
    for heading in (
        "## Description",
        "## How to use",
        "## Examples",
        "## Limitations and bias",
        "## Citation",
    ):
        assert heading in card
    (requirement,) = map(Requirement, requirements.decode().splitlines())
    assert (requirement.name, requirement.extras, requirement.url) == ("unisim-metrics", {"evaluate"}, GIT)
