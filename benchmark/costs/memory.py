"""The peak memory of one model, in a process that does nothing else.

python -m unisim_metrics.benchmark.costs.memory MODEL BATCH_SIZE DEVICE
"""

from __future__ import annotations

import json
import sys

import torch

from .efficiency import load, workload
from .environment import peak_memory


def measure(name: str, batch_size: int, device: torch.device) -> int:
    """Return the largest memory of this process, in bytes, once a model is loaded and has been at work."""
    model = load(name, device)
    with torch.no_grad():
        for work in workload(model, batch_size).values():
            work()
    return peak_memory(device)


if __name__ == "__main__":
    name, batch_size, device = sys.argv[1:]
    print(json.dumps({"peak_memory_bytes": measure(name, int(batch_size), torch.device(device))}))
