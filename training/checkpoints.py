"""What a run saves on the way: whole or not at all, and enough to go on to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .errors import TrainingError

_NAME = re.compile(r"checkpoint-(\d+)")
_WEIGHTS, _OPTIMIZER, _STATE = "trained.safetensors", "optimizer.pt", "state.json"

TRAINER_STATE = "trainer_state.json"
"""What transformers writes last into a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after some steps.

    Attributes:
        step: Steps done.
        weights: The trained weights by name.
        optimizer: The optimizer's `state_dict()`.
        state: What else the run counts, as JSON.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint under the run's folder and drop the oldest beyond `keep`.

    It appears under its name only when it is complete.

    Raises:
        TrainingError: If it cannot be written, a full disk for example. Those before it stand.
    """
    final = run / f"checkpoint-{checkpoint.step:08d}"
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
    with whole_folder(final, f"The checkpoint of step {checkpoint.step}") as partial:
        save_file(weights, partial / _WEIGHTS)
        torch.save(checkpoint.optimizer, partial / _OPTIMIZER)
        content = {"step": checkpoint.step, **checkpoint.state}
        (partial / _STATE).write_text(json.dumps(content, indent=2), encoding="utf-8")
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return final


@contextmanager
def whole_folder(final: Path, what: str) -> Iterator[Path]:
    """Give a folder to write to, which takes its own name, and another's place, only when all of it is written.

    Args:
        final: The folder.
        what: What it holds, for the error text.

    Raises:
        TrainingError: If it cannot be written, a full disk for example.
    """
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TrainingError(
            f"{what} cannot be written to {final.parent}: {error}. Earlier checkpoints stand;"
            " make room and resume."
        ) from error


def list_checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, the oldest first."""
    return sorted(path for path in run.glob("checkpoint-*") if _NAME.fullmatch(path.name))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainingError: If it is incomplete or damaged.
    """
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        weights = load_file(folder / _WEIGHTS)
        optimizer = torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise TrainingError(f"The checkpoint {folder} cannot be read: {error}") from error
    return Checkpoint(int(state.pop("step")), weights, optimizer, state)


def last_checkpoint(run: Path) -> Path | None:
    """The last complete checkpoint of a run: its state is written after all else."""
    complete = [path for path in run.glob("checkpoint-*") if (path / TRAINER_STATE).is_file()]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def steps_of_weights(run: Path, left: Path) -> int | None:
    """Return the step of the run's last checkpoint, whose weights the folder `left` must have; None without any.

    Raises:
        TrainingError: If they are others, or cannot be read.
    """
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        return None
    step = int(json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))["global_step"])
    files = sorted(path.name for path in left.glob("*.safetensors"))
    saved = sorted(path.name for path in checkpoint.glob("*.safetensors"))
    if files != saved or not all(_equal(left / name, checkpoint / name) for name in files):
        raise TrainingError(
            f"The run in {run} is not finished: the weights in {left} are not those of its last checkpoint, at step"
            f" {step}. Go on with `unisim train ... --resume`."
        )
    return step


def _equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same weights, read one by one."""
    try:
        with safe_open(one, "pt") as first, safe_open(other, "pt") as second:
            names = set(first.keys())
            return names == set(second.keys()) and all(
                torch.equal(first.get_tensor(name), second.get_tensor(name)) for name in names
            )
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"The weights in {one.parent} or {other.parent} cannot be read: {error}"
        ) from error
