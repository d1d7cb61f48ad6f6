"""Jobs over a collection that are killed and go on, in processes forked from this one, which has imported all once.

    python interrupted_collections.py MODEL INPUT OUT KILLS

OUT is a folder or a URL, of `shelf_store` too. Prints how often each output folder's job was killed: the first one not
at all.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import shelf_store  # noqa: F401  # registers its URLs
import torch
from torch import Tensor

from unisim_metrics import UniSimScorer, load_model, score_collection
from unisim_metrics.models import EncoderModel

PAUSE = 0.01
# Each job is killed a few times and then left alone: of three deaths over one shard it would look for what kills it.
MOST = 2


def slow(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Let every pass take a moment, in which a kill may fall."""

    def encode_slowly(pixels: Tensor) -> Tensor:
        time.sleep(PAUSE)
        return encode(pixels)

    return encode_slowly


def start(model: EncoderModel, source: Path, folder: str) -> int:
    """Start a job in a process of its own and return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        model.encode_pixels = slow(model.encode_pixels)  # type: ignore[method-assign]
        scorer = UniSimScorer(model, batch_size=2, keep_embedding=True)
        score_collection([source, f"{source}/*.tar", f"{source}/*.parquet"], folder, scorer, rows_per_shard=5)
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """Run from the command line."""
    directory, source, out = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    model = load_model(directory)
    assert isinstance(model, EncoderModel)
    chance = random.Random(0)
    killed: list[int] = []
    duration = 0.0
    while sum(killed) < int(sys.argv[4]):
        folder = f"{out}/{len(killed):02}"
        killed.append(0)
        while True:
            begin = time.perf_counter()
            child = start(model, source, folder)
            if duration and killed[-1] < MOST:  # the first job is not disturbed
                time.sleep(chance.uniform(0, duration))
                os.kill(child, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status == 0:
                break
            assert status == -signal.SIGKILL, status
            killed[-1] += 1
        duration = duration or time.perf_counter() - begin
    print(json.dumps(killed))


if __name__ == "__main__":
    main()
