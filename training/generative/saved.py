"""Which checkpoint of a run holds the weights that the run has left."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import TrainingError

TRAINER_STATE = "trainer_state.json"


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
