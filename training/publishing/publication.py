"""What is to be published, complete in a folder, and nothing of this machine in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.checkpoints.directories import Base
from unisim_metrics.models.sources.hub import is_hub_id

from .finished_run import FinishedRun

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

_PATH = re.compile(r"(?<![\w./:~-])(?:file:/+|[A-Za-z]:[\\/]|/)[^\s'\",;\[\]]*")


@dataclass(frozen=True)
class Publication:
    """What is to be published, complete in a folder.

    Attributes:
        repo: `ORG/NAME`.
        folder: The folder; it goes when the block that prepared it ends.
    """

    repo: str
    folder: Path

    @property
    def files(self) -> dict[str, Path]:
        """Every file by its path in the repository."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @property
    def card(self) -> str:
        """The model card."""
        return (self.folder / "README.md").read_text(encoding="utf-8")


def complete(folder: Path, repo: str, run: FinishedRun, card: ModelCard) -> Publication:
    """Put recipe, environment and card of a run beside the weights in a folder."""
    write_json(folder / "recipe.json", run.recipe)
    write_json(folder / "environment.json", run.environment)
    (folder / "README.md").write_text(str(card), encoding="utf-8")
    return Publication(repo, folder)


def check_hub_id(base: str) -> None:
    """Check that others can have a base of this name.

    Raises:
        ValueError: If it is no id on the Hub.
    """
    if not is_hub_id(base):
        raise ValueError(
            f"Argument `base` must be the Hub id of the model that the run was trained from, but {base!r} is a path,"
            " which nobody else has. Name the id of the same weights, `--base ORG/NAME`; if they are on no Hub, publish"
            " them first."
        )


def check_weights(base: Base, run: FinishedRun) -> None:
    """Check that a base is the one that a run was trained from.

    Raises:
        CheckpointError: If its weights are others.
    """
    if base.weights_hash() != run.environment["base_hash"]:
        raise CheckpointError(
            f"The base {base.name!r} must be the one that {run.folder} was trained from, but its weights are others."
            " Name the right one by `base`, or publish the weights that it was trained from first."
        )


def public_run(run: FinishedRun, base: str) -> FinishedRun:
    """Return a run with no absolute path of this machine in it, and its base by a name that others know."""
    recipe, environment = without_paths(run.recipe), without_paths(run.environment)
    return replace(run, recipe={**recipe, "base": base}, environment={**environment, "base": base})


def without_paths(value: Any) -> Any:
    """JSON with the last part alone of every absolute path in it: `--data=/home/me/data` becomes `--data=data`."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            return kind(value).name
    return _PATH.sub(lambda found: PureWindowsPath(found[0]).name, value)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
