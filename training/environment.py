"""What a run's folder tells of how it was made, and whether a run may go on in a folder that is there already."""

from __future__ import annotations

import copy
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import TrainingError

_PACKAGES = (
    "unisim-metrics",
    "torch",
    "torchvision",
    "transformers",
    "peft",
    "accelerate",
    "numpy",
    "pillow",
)

# How much is kept, and how often it is validated, does not change what is trained.
_FREE = (("save_every",), ("keep",), ("validation", "every"))

_DECIDES = (
    ("base_hash", "trained from another base"),
    ("data_hash", "trained on other triplets"),
    ("instructions_hash", "trained on other instructions"),
    ("held_out_hash", "validated on other triplets"),
)


def describe_environment() -> dict[str, Any]:
    """Return the command, the versions of Python and the packages, the platform and the state of the code."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "git": _git_state(),
    }


def write_record(out: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Write down in a run's folder what is done there: `recipe.json` and `environment.json`."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("recipe", recipe), ("environment", environment)):
        (out / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _git_state() -> str | None:
    """Commit of the code, with a plus if files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changes else commit


def check_recipe(out: Path, recipe: Mapping[str, Any], resume: bool, name: str = "recipe.json") -> None:
    """Check that a folder holds no run, or one of the same recipe, written down as `name`, that is to go on.

    Raises:
        TrainingError: If it does not.
    """
    written = out / name
    if not written.is_file():
        return
    if not resume:
        raise TrainingError(f"The folder {out} holds a run: resume it, or choose another folder.")
    before = json.loads(written.read_text(encoding="utf-8"))
    if _without_free(before) != _without_free(recipe):
        raise TrainingError(f"The run in {out} is of another recipe, see {written}: resume it with the same.")


def check_environment(out: Path, environment: Mapping[str, Any]) -> None:
    """Check that nothing that decides the result has changed under a run's names.

    Raises:
        TrainingError: If something has.
    """
    written = out / "environment.json"
    if not written.is_file():
        return
    before = json.loads(written.read_text(encoding="utf-8"))
    for key, what in _DECIDES:
        if before.get(key) != environment.get(key):
            raise TrainingError(
                f"The run in {out} was {what}: {written} says {key} {before.get(key)}, but now it is"
                f" {environment.get(key)}. Restore what was there, or choose another folder."
            )


def _without_free(recipe: Mapping[str, Any]) -> dict[str, Any]:
    settings = copy.deepcopy(dict(recipe))
    for *tables, name in _FREE:
        table = settings
        for key in tables:
            table = table.get(key, {})
        table.pop(name, None)
    return settings
