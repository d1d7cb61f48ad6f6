"""A run that is killed at any moment goes on to the very files of one that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import timeless, write_distinct_sets
from interrupted_runs import BATCH, SETS

KILLS = 10


@pytest.fixture(scope="module")
def stories(
    tiny_clip_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    root, out = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("stories")
    write_distinct_sets(root)
    script = Path(__file__).with_name("interrupted_runs.py")
    command = [sys.executable, str(script), str(tiny_clip_dir), str(root), str(out), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_ten_kills_leave_no_trace_in_the_results(stories: tuple[Path, list[dict[str, Any]]]) -> None:
    out, told = stories
    assert sum(story["killed"] for story in told) >= KILLS and told[0]["killed"] == 0
    undisturbed = timeless(out / "00" / "results")
    assert len(undisturbed) == len(SETS) + 1
    for number in range(1, len(told)):
        # All but the times, to the byte.
        assert timeless(out / f"{number:02d}" / "results") == undisturbed


def test_a_kill_costs_no_more_than_the_batch_that_was_under_way(
    stories: tuple[Path, list[dict[str, Any]]],
) -> None:
    _, told = stories
    everything = set(told[0]["encoded"])
    assert len(told[0]["encoded"]) == len(everything) > 20 * BATCH
    for story in told[1:]:
        assert set(story["encoded"]) == everything
        assert len(story["encoded"]) - len(everything) <= story["killed"] * BATCH
