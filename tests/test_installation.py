"""What the package tells people to install, against pip and the wheels' own metadata."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import pytest
from packaging.requirements import Requirement

from unisim_metrics.installation import git_source, install_extra, requirements_of

ROOT = Path(__file__).parent.parent
with open(ROOT / "pyproject.toml", "rb") as file:
    EXTRAS = tomllib.load(file)["project"]["optional-dependencies"]


def packages(extra: str) -> set[str]:
    """The packages of an extra as pyproject.toml has them, those of extras in it included."""
    found = set()
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "unisim-metrics":
            found.update(*map(packages, requirement.extras))
        elif requirement.marker is None or requirement.marker.evaluate():
            requirement.marker = None
            found.add(str(requirement))
    return found


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_is_installed_by_the_names_of_its_packages(extra: str) -> None:
    assert requirements_of(extra) == sorted(packages(extra))
    assert install_extra(extra) == "pip install " + " ".join(f"'{name}'" for name in sorted(packages(extra)))


def test_an_unknown_extra_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"`extra` must be one of all, .*training, but got 'plots'"):
        install_extra("plots")


def test_no_line_to_type_takes_the_package_from_an_index() -> None:
    """Texts that people copy install a clone, an address, or other packages."""
    tried = 0
    for folder in ("unisim_metrics", "benchmark", "training", "integrations", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md", ".toml"):
                lines = re.findall(r"pip install [^`\n]*", path.read_text(encoding="utf-8"))
                tried += len(lines)
                assert not [
                    line for line in lines if re.search(r"unisim(-metrics)?(\[\w+\])?['\"]?( |$)(?!@)", line)
                ]
    assert tried > 10


def test_the_git_address_of_an_installation_is_the_one_that_pip_recorded(tmp_path: Path) -> None:
    assert git_source() is None  # the tests run in a clone
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "unisim-metrics"\nversion = "9"\n[tool.setuptools]\npackages = []\n'
    )
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "One"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    address = f"git+file://{repository}"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    site = tmp_path / "site"
    subprocess.run([*pip, "--no-build-isolation", "--target", str(site), address], check=True)
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from unisim_metrics.installation import git_source; print(git_source())"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert told == f"{address}@{commit}"
