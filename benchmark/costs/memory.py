"""The peak memory of a process, and that of one model in a process that does nothing else.

python -m unisim_metrics.benchmark.costs.memory MODEL BATCH_SIZE DEVICE
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import torch

from .efficiency import load, workload

_STATUS = Path("/proc/self/status")


def measure(name: str, batch_size: int, device: torch.device) -> int:
    """Return the largest memory of this process, in bytes, once a model is loaded and has been at work."""
    model = load(name, device)
    with torch.no_grad():
        for work in workload(model, batch_size).values():
            work()
    return peak_memory(device)


def peak_memory(device: torch.device) -> int:
    """Return the largest memory so far, in bytes: of the accelerator if the model is on one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.is_file():
        # What `getrusage` tells begins with the size of the process that started this one.
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        psutil = import_module("psutil")
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    name, batch_size, device = sys.argv[1:]
    print(json.dumps({"peak_memory_bytes": measure(name, int(batch_size), torch.device(device))}))
