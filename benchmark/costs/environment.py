"""Where a figure was made, and how much memory it took."""

from __future__ import annotations

import platform
import sys
from importlib import import_module, metadata
from pathlib import Path

import torch

from ..results.files import Environment

_STATUS = Path("/proc/self/status")
_PACKAGES = (
    "unisim-metrics",
    "torch",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "peft",
    "numpy",
    "pillow",
)


def describe_environment(device: torch.device) -> Environment:
    """Return the machine, and the versions of what figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        device=f"{device.type} {name}".strip(),
        packages={package: metadata.version(package) for package in _PACKAGES},
    )


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
