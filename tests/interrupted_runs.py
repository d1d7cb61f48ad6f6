"""Runs that are killed and go on, in processes forked from this one, which has imported and loaded everything once.

    python interrupted_runs.py MODEL ROOT OUT KILLS

Prints what was encoded, by story: the first is one run from the beginning to the end, each other one a run that was
killed a few times and started again until it was done.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unisim_metrics import load_model
from unisim_metrics.benchmark import run
from unisim_metrics.models import EncoderModel

SETS = ["koniq-10k", "cifar-100-ooo", "koniq-contrast", "hpdv2", "roxford"]
BATCH = 4
PAUSE = 0.004


def write_down(encode: Callable[[Tensor], Tensor], log: Path) -> Callable[[Tensor], Tensor]:
    """Let every call leave a line for each item, at once."""

    def encode_and_tell(pixels: Tensor) -> Tensor:
        lines = [hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in pixels]
        with open(log, "a", encoding="ascii", buffering=1 << 20) as file:
            file.write("".join(f"{line}\n" for line in lines))
        time.sleep(PAUSE)
        return encode(pixels)

    return encode_and_tell


def start(model: EncoderModel, root: Path, folder: Path) -> int:
    """Start a run in a process of its own and return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        model.encode_pixels = write_down(model.encode_pixels, folder / "log")  # type: ignore[method-assign]
        run(
            model,
            SETS,
            root,
            n=40,
            results=folder / "results",
            cache=folder / "cache",
            workers=2,
            batch_size=BATCH,
            progress=False,
        )
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Run from the command line."""
    directory, root, out = (Path(argument) for argument in sys.argv[1:4])
    torch.set_num_threads(1)
    model = load_model(directory)
    assert isinstance(model, EncoderModel)
    chance = random.Random(0)
    stories = []
    kills = 0
    duration = 0.0
    while kills < int(sys.argv[4]):
        folder = out / f"{len(stories):02d}"
        folder.mkdir()
        killed = 0
        while True:
            begin = time.perf_counter()
            child = start(model, root, folder)
            if duration:  # of the first story, which is not disturbed
                time.sleep(chance.uniform(0, duration / 2))
                os.kill(child, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status == 0:
                break
            assert status == -signal.SIGKILL, status
            killed += 1
        duration = duration or time.perf_counter() - begin
        kills += killed
        stories.append({"killed": killed, "encoded": (folder / "log").read_text().split()})
    print(json.dumps(stories))


if __name__ == "__main__":
    main()
