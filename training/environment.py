"""What the result of a run depends on beside its recipe and its data, and the record of it all."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

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
