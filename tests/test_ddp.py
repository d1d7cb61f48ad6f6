"""Two gloo processes with a part of the data each give, bit for bit, what one process gives with all of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import TEXTS, pixels
from two_processes import run_in_two

from unisim_metrics import UniSimRanking, UniSimScore, load_model

# How many of the six batches the first process gets; the second one gets the others.
SPLITS = {"even": 3, "uneven": 1, "first empty": 0, "second empty": 6}
METRICS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda model: UniSimScore(model, task="image-text"),
    "none": lambda model: UniSimScore(model, task="image-text", reduction="none"),
    "none in float64": lambda model: UniSimScore(model, task="image-text", reduction="none").set_dtype(
        torch.float64
    ),
    "ranking": lambda model: UniSimRanking(model),
    "ragged ranking": lambda model: UniSimRanking(model),
    "ragged ranking with intervals": lambda model: UniSimRanking(model, confidence=0.95),
    "clustered ranking": lambda model: UniSimRanking(
        model, confidence=0.95, clustered=True, max_alternatives=8
    ),
}


def batches(kind: str) -> list[tuple[Any, ...]]:
    """Six batches of different sizes."""
    images = pixels(48, size=32)
    if "ranking" not in kind:
        return [(batch, TEXTS[: len(batch)]) for batch in images.split([2, 3, 1, 4, 2, 5, 31])][:6]
    groups = images[:36].view(6, 2, 3, *images.shape[1:])
    choices = [[step % 3, (step + 1) % 3] for step in range(6)]
    if kind == "ranking":
        return [(group, TEXTS[:2], choice) for group, choice in zip(groups, choices, strict=True)]
    larger = [[list(images[36 : 38 + step]), list(group[1])] for step, group in enumerate(groups)]
    if kind == "clustered ranking":
        # Clusters that reach over both processes.
        names = [["a", f"{step // 2}"] for step in range(6)]
        return [(group, TEXTS[:2], None, name) for group, name in zip(larger, names, strict=True)]
    return [(group, TEXTS[:2], [0, 1] if step % 2 else None) for step, group in enumerate(larger)]


def run(rank: int, port: int, threads: int, directory: str, output: str) -> None:
    """One of the two processes: every metric on every split, and what it computed to a file."""
    torch.set_num_threads(threads)  # sums of floats depend on it
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    model = load_model(Path(directory))
    results: dict[str, Any] = {"signature": UniSimScore(model).signature}
    for split, first in SPLITS.items():
        for kind, build in METRICS.items():
            metric = build(model)
            mine = batches(kind)[:first] if rank == 0 else batches(kind)[first:]
            for batch in mine:
                metric.update(*batch)
            results[f"{split}/{kind}"] = metric.compute()
            results[f"{split}/{kind}/signature"] = metric.signature
            # Computing together must leave each process its own part, to go on with.
            alone = build(model)
            alone.sync_on_compute = alone._to_sync = metric._to_sync = False
            for batch in mine:
                alone.update(*batch)
            metric._computed = None
            results[f"{split}/{kind}/own"] = same(metric.compute(), alone.compute())
    together = UniSimScore(model, dist_sync_on_step=True)
    results["step"] = [together(*batch) for batch in batches("mean")[rank::2]]
    results["disagreement"] = disagree(rank, model)
    torch.save(results, f"{output}/{rank}.pt")
    torch.distributed.destroy_process_group()


def disagree(rank: int, model: Any) -> dict[str, Any]:
    """What a process hears when the other one scored something else, and what it computes by itself then."""
    images = pixels(2, size=32)
    metrics = {
        "task": (UniSimScore(model), (images, TEXTS[:2] if rank else None)),
        "method": (UniSimScore(model, method="clip-iqa" if rank else "naive"), (images,)),
        "ranking": (UniSimRanking(model), (images[None], TEXTS[:1] if rank else None)),
    }
    told: dict[str, Any] = {}
    for name, (metric, batch) in metrics.items():
        metric.update(*batch)
        try:
            metric.compute()
        except ValueError as error:
            told[name] = str(error)
        metric._to_sync = False
        own = metric.compute()
        told[f"{name}/own"] = own["win_rate"] if isinstance(own, dict) else own
        told[f"{name}/signature"] = metric.signature
    return told


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and bool(((first == second) | (first.isnan() & second.isnan())).all())
    )


@pytest.fixture(scope="module")
def processes(tiny_clip_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two processes computed."""
    output = tmp_path_factory.mktemp("processes")
    run_in_two(run, torch.get_num_threads(), str(tiny_clip_dir), str(output))
    return [torch.load(output / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def model(tiny_clip_dir: Path) -> Any:
    return load_model(tiny_clip_dir)


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("split", SPLITS)
def test_two_processes_give_the_result_of_one(processes: Any, model: Any, split: str, kind: str) -> None:
    metric = METRICS[kind](model)
    for batch in batches(kind):
        metric.update(*batch)
    for results in processes:
        assert same(results[f"{split}/{kind}"], metric.compute())
        assert results[f"{split}/{kind}/own"]
        # A process without data signs what it computed, which others scored.
        assert results[f"{split}/{kind}/signature"] == metric.signature


def test_processes_that_scored_different_things_are_told_so_and_keep_their_own(
    processes: Any, model: Any
) -> None:
    images = pixels(2, size=32)
    for rank, results in enumerate(processes):
        told = results["disagreement"]
        for name in ("task", "ranking"):
            assert "processes or metrics scored 'image-text' and 'quality'" in told[name]
        assert "had several models, tasks, methods or prompts" in told["method"]
        expected = UniSimScore(model)
        expected.update(images, TEXTS[:2] if rank else None)
        assert same(told["task/own"], expected.compute())
        assert told["task/signature"] == expected.signature


def test_values_of_single_steps_are_shared_on_request(processes: Any, model: Any) -> None:
    for step in range(3):
        expected = UniSimScore(model)
        for batch in batches("mean")[2 * step : 2 * step + 2]:
            expected.update(*batch)
        for results in processes:
            assert same(results["step"][step], expected.compute())


def test_processes_with_the_same_weights_sign_the_same(processes: Any, model: Any) -> None:
    assert [results["signature"] for results in processes] == [UniSimScore(model).signature] * 2
