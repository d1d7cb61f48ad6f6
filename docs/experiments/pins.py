"""Whether the package installs beside trainers: their requirements and its own, resolved together by uv.

    python -m docs.experiments.pins

The requirements stand in `trainers.toml`, each with the commit that it was read at. Nothing is installed. uv has to be
found as a command or in this Python, and asks the package index. The newest releases of a day are chosen, so the table
is the same on a later one.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Row", "Trainer", "floors", "main", "read_trainers", "too_old"]

TRAINERS = Path(__file__).parent / "trainers.toml"
PACKAGE = Path(__file__).parents[2] / "pyproject.toml"
# The day whose newest releases the page shows.
DAY = "2026-11-26"
# Wheels of machine learning are often for this glibc or a newer one.
PLATFORM = "x86_64-manylinux_2_35"
SHOWN = ("transformers", "torch", "peft", "huggingface-hub")
HEADER = """\
| trainer | bounds from above | installs beside it | together with |
| --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Trainer:
    """What a trainer requires.

    Attributes:
        name: Its name.
        requirements: The lines of its own file.
        python: A version of Python that it runs on.
        repository: Its address; empty for a bare version.
        commit: Where the lines were read.
        file: In which file.
    """

    name: str
    requirements: tuple[str, ...]
    python: str
    repository: str = ""
    commit: str = ""
    file: str = ""

    @property
    def link(self) -> str:
        """Its name and commit, with the address of the file that was read."""
        if not self.repository:
            return self.name
        return f"[{self.name}]({self.repository}/blob/{self.commit}/{self.file}) {self.commit[:7]}"


@dataclass(frozen=True)
class Row:
    """What came of a trainer.

    Attributes:
        trainer: The trainer.
        versions: What would be installed, by the name of a package; None if nothing fits.
        reason: Why nothing fits.
    """

    trainer: Trainer
    versions: dict[str, str] | None
    reason: str = ""

    def __str__(self) -> str:
        bounds = ", ".join(f"`{bound}`" for bound in _bounds(self.trainer)) or "–"
        if self.versions is None:
            return f"| {self.trainer.link} | {bounds} | no: {self.reason} | – |"
        chosen = ", ".join(f"{name} {self.versions[name]}" for name in SHOWN)
        return f"| {self.trainer.link} | {bounds} | yes | {chosen} |"


def read_trainers(path: Path = TRAINERS) -> list[Trainer]:
    """Read the requirements of all trainers."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Trainer(name, **{**table, "requirements": tuple(table["requirements"])})
        for name, table in tables.items()
    ]


def floors(path: Path = PACKAGE) -> dict[str, Requirement]:
    """What the package itself requires, by name."""
    lines = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def too_old(trainer: Trainer) -> list[str]:
    """The versions that a trainer insists on and that the package refuses, each with what it wants."""
    own = floors()
    found = []
    for requirement in map(Requirement, trainer.requirements):
        wanted = own.get(canonicalize_name(requirement.name))
        for bound in requirement.specifier:
            if wanted is None or bound.operator != "==" or bound.version.endswith(".*"):
                continue
            if not wanted.specifier.contains(bound.version):
                found.append(f"{requirement.name} {bound.version} where {wanted.specifier} is needed")
    return found


def resolve(trainer: Trainer, day: str = DAY) -> Row:
    """Ask uv for versions that suit a trainer and the package.

    Args:
        trainer: The trainer.
        day: The newest releases of this day are chosen.

    Raises:
        FileNotFoundError: If there is no uv.
    """
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise FileNotFoundError("uv is needed and is not found: pip install uv.")
    command = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "--no-annotate",
        "--no-header",
        "--index-strategy=unsafe-best-match",
    ]
    command += [
        f"--python-version={trainer.python}",
        f"--python-platform={PLATFORM}",
        f"--exclude-newer={day}",
    ]
    done = subprocess.run(
        [*command, str(PACKAGE), "-"], input="\n".join(trainer.requirements), capture_output=True, text=True
    )
    if done.returncode:
        return Row(trainer, None, "; ".join(too_old(trainer)) or " ".join(done.stderr.split()))
    return Row(trainer, dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, flags=re.MULTILINE)))


def _bounds(trainer: Trainer) -> list[str]:
    """Those requirements on packages of this package's own that bound them from above."""
    own = floors()
    return [
        f"{requirement.name}{requirement.specifier}"
        for requirement in map(Requirement, trainer.requirements)
        if canonicalize_name(requirement.name) in own
        and any(bound.operator in ("==", "<", "<=", "~=") for bound in requirement.specifier)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--day", default=DAY, help="the newest releases of this day are chosen (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    print(HEADER)
    for trainer in read_trainers():
        print(resolve(trainer, options.day), flush=True)


if __name__ == "__main__":
    main()
