"""The outer rooms stand at the top of the repository and install inside the package; the rest: `pyproject.toml`."""

from setuptools import find_packages, setup

ROOMS = {
    "unisim_metrics": "unisim_metrics",
    "unisim_metrics.benchmark": "benchmark",
    "unisim_metrics.integrations": "integrations",
    "unisim_metrics.training": "training",
}

setup(
    package_dir=ROOMS,
    packages=[
        *ROOMS,
        *(f"{room}.{package}" for room, folder in ROOMS.items() for package in find_packages(folder)),
    ],
)
