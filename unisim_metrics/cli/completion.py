"""What the shell offers after an option; nothing here loads torch."""

from __future__ import annotations

from collections.abc import Iterator


def models(incomplete: str) -> list[str]:
    """Offer the models that have a name."""
    from unisim_metrics.models.registry import list_models

    return _offer(list_models(), incomplete)


def tasks(incomplete: str) -> list[str]:
    """Offer the tasks of the metrics."""
    from unisim_metrics.tasks import TASKS

    return _offer(TASKS, incomplete)


def methods(incomplete: str) -> list[str]:
    """Offer the ways in which quality and attributes are scored."""
    from unisim_metrics.tasks import METHODS

    return _offer(METHODS, incomplete)


def resamples(incomplete: str) -> list[str]:
    """Offer the ways of resizing."""
    return _offer(("bicubic", "pil"), incomplete)


def benchmark_tasks(incomplete: str) -> list[str]:
    """Offer the tasks of the benchmark."""
    from unisim_metrics.benchmark.tasks import TASKS

    return _offer([task.id for task in TASKS], incomplete)


def sets(incomplete: str) -> list[str]:
    """Offer the sets of the benchmark."""
    from unisim_metrics.benchmark.tasks import TASKS

    return _offer([dataset for task in TASKS for dataset in task.datasets], incomplete)


def recipes(incomplete: str) -> list[str]:
    """Offer the recipes that come with the package."""
    from importlib.resources import files

    folder = files("unisim_metrics.training") / "recipes"
    names: Iterator[str] = (entry.name for entry in folder.iterdir())
    return _offer(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")), incomplete)


def splits(incomplete: str) -> list[str]:
    """Offer the splits of a set."""
    return _offer(("test", "train"), incomplete)


def _offer(words: list[str] | tuple[str, ...], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
