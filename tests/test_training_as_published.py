"""What the recipes take over from the authors' training code: schedule, clipping, and how often sets count."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_data import write_kadid, write_pieapp
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import RECIPE, trainer_of, weights_of, write_images
from torch import nn

from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.training.clip.optimization import Schedule, adamw
from unisim_metrics.training.pools import read_triplets
from unisim_metrics.training.recipe import list_recipes, read_recipe, read_table
from unisim_metrics.training.stream import Pool, TripletStream

OF_CLIP = [name for name in list_recipes() if name.startswith("unisim-vit")]


@pytest.mark.parametrize("name", OF_CLIP)
def test_recipes_are_theirs(name: str) -> None:
    recipe = read_recipe(name)
    chosen = recipe.optimization
    assert chosen.max_norm is None
    assert (chosen.learning_rate, chosen.min_learning_rate, chosen.warmup_steps) == (5e-6, 1e-6, 500)
    assert recipe.steps == 12_500
    assert recipe.data.protocol == "authors"
    assert recipe.prompts == "authors"
    assert "max_norm" not in read_table(name)["optimization"]


@pytest.mark.parametrize(("warmup", "steps"), [(5, 20), (0, 7), (1, 2), (3, 3)])
def test_schedule(warmup: int, steps: int) -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer, scheduler = adamw([weight], Schedule(5e-6, 0.35, warmup, steps, floor=1e-6))
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        weight.grad = torch.ones(2, 2)
        optimizer.step()
        scheduler.step()
    rising = [5e-6 * (step + 1) / warmup for step in range(warmup)]
    falling = [
        1e-6 + 0.5 * (5e-6 - 1e-6) * (1 + math.cos(math.pi * step / (steps - warmup)))
        for step in range(steps - warmup)
    ]
    assert rates == pytest.approx([*rising, *falling], rel=1e-9)
    assert min(rates) > 0


def test_the_end_of_the_schedule() -> None:
    assert 5e-6 * Schedule(5e-6, 0, 500, 12_500, 1e-6).factor(12_500) == pytest.approx(1e-6)
    assert 5e-6 * Schedule(5e-6, 0, 500, 12_500, 1e-6).factor(0) == pytest.approx(1e-8)


def test_a_floor_above_the_rate() -> None:
    with pytest.raises(ValueError, match=r"optimization.min_learning_rate must be at most .* but got 1e-06"):
        read_recipe("unisim-vit-b-32", ["optimization.learning_rate=1e-7"])
    with pytest.raises(ValueError, match=r"optimization.min_learning_rate must be at least 0, but got -1"):
        read_recipe("unisim-vit-b-32", ["optimization.min_learning_rate=-1"])


def pool(name: str, count: int, per_pass: int | None = None) -> Pool:
    samples = [
        Sample(f"{name} {index}", (Path(f"{name}{index}.png"), Path("b.png")), 0) for index in range(count)
    ]
    return Pool(name, "image-text", samples, per_pass)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(1, 5), st.integers(0, 3))
def test_a_pass_takes_so_many_of_a_set(count: int, per_pass: int, others: int, seed: int) -> None:
    part = pool("part", count, per_pass)
    stream = TripletStream([pool("whole", others), part], 4, seed)
    size = min(count, per_pass)
    assert part.size == size
    total = others + size
    passes = 3 * -(-count // size)
    seen: Counter[Any] = Counter()
    for turn in range(passes):
        drawn = [stream.draw_from("image-text", turn * total + number) for number in range(total)]
        assert Counter(name for name, _ in drawn) == {"whole": others, "part": size}
        seen.update(sample.reference for name, sample in drawn if name == "part")
    # Nothing comes twice before all have come.
    assert len(seen) == count
    assert max(seen.values()) - min(seen.values()) <= 1
    met = {sample.reference for sample in stream.met("image-text", 1000)}
    assert met == {f"part {index}" for index in range(count)} | {f"whole {index}" for index in range(others)}


def test_training_sets_count_as_theirs(tmp_path: Path) -> None:
    write_pieapp(tmp_path)
    write_kadid(tmp_path)
    names = ("kadid-10k", "pieapp-iqa", "pieapp-2afc")
    paper, authors = (
        {pool.dataset: pool for pool in read_triplets(names, tmp_path, protocol=protocol).pools}
        for protocol in ("paper", "authors")  # type: ignore[misc]
    )
    assert authors["pieapp-iqa"].size == 2 * authors["pieapp-2afc"].size > paper["pieapp-iqa"].size
    assert (paper["kadid-10k"].per_pass, authors["kadid-10k"].per_pass) == (None, 9000)
    assert paper["kadid-10k"].samples == authors["kadid-10k"].samples


def test_the_first_step_moves(tmp_path: Path, tiny_clip_dir: Path) -> None:
    slow = dataclasses.replace(RECIPE.optimization, warmup_steps=5)
    recipe = dataclasses.replace(RECIPE, optimization=slow)
    trainer = trainer_of(recipe, tiny_clip_dir, write_images(tmp_path / "images"), tmp_path)
    before = weights_of(trainer)
    list(trainer.train(1))
    after = weights_of(trainer)
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())
