"""What is told of a folder of scores, and what is filtered from it, against NumPy on all scores at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from unisim_metrics.collections import filter_collection, summarize_collection
from unisim_metrics.collections.order import order_statistics

SIGNATURE = "unisim|model:m@0|task:quality/naive|input:32-pil|v:0"


def write_shards(folder: Path, *shards: Any, signature: str = SIGNATURE, complete: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    for number, scores in enumerate(shards):
        scores = np.asarray(scores, np.float32)
        table = pyarrow.table(
            {
                "unisim_source": [f"{number}.tar"] * len(scores),
                "unisim_key": [f"{number}-{row}" for row in range(len(scores))],
                "unisim_score": scores,
                "unisim_error": ["broken" if np.isnan(score) else "" for score in scores],
            }
        )
        table = table.replace_schema_metadata({"unisim_signature": signature})
        parquet.write_table(table, folder / f"part-{number:05}.parquet")
    if complete:
        (folder / "_SUCCESS").touch()
    return folder


def drawn(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    scores = random.normal(0.2, 0.05, count).astype(np.float32)
    scores[random.random(count) < 0.1] = np.nan
    return scores


class TestOrderStatistics:
    @settings(max_examples=100, deadline=None)
    @given(
        values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
        cut=st.integers(1, 7),
    )
    def test_every_rank_is_exact(self, values: list[float], cut: int) -> None:
        array = np.array(values, np.float32)
        pieces = [array[start : start + cut] for start in range(0, len(array), cut)]
        found = order_statistics(lambda: pieces, range(len(array)))
        np.testing.assert_array_equal(np.array(found, np.float32), np.sort(array))

    def test_many_scores_of_a_kind(self) -> None:
        array = drawn(50_000)
        array = array[~np.isnan(array)]
        ranks = np.random.default_rng(1).integers(0, len(array), 40).tolist()
        assert order_statistics(lambda: [array], ranks) == np.sort(array)[ranks].tolist()


class TestSummary:
    def test_every_figure(self, tmp_path: Path) -> None:
        shards = [drawn(4_000), drawn(1, seed=2), np.array([]), drawn(2_500, seed=3)]
        folder = write_shards(tmp_path / "out", *shards)
        every = np.concatenate(shards)
        scores = every[~np.isnan(every)].astype(np.float64)
        found = summarize_collection(folder, threshold=0.25, bars=15)
        assert (found.signature, found.is_complete) == (SIGNATURE, True)
        assert (found.count, found.errors) == (len(scores), len(every) - len(scores))
        assert found.mean == pytest.approx(scores.mean(), rel=1e-12)
        assert found.deviation == pytest.approx(scores.std(ddof=1), rel=1e-9)
        margin = 1.959963984540054 * scores.std(ddof=1) / math.sqrt(len(scores))
        assert found.interval == pytest.approx((scores.mean() - margin, scores.mean() + margin))
        expected = np.percentile(scores, list(found.percentiles), method="inverted_cdf")
        assert list(found.percentiles.values()) == expected.tolist()
        assert found.above == (scores >= np.float32(0.25)).mean()
        heights, edges = np.histogram(scores, 15)
        assert found.bars == tuple(heights) and found.edges == pytest.approx(tuple(edges))

    @pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5]])
    def test_one_score(self, scores: list[float], tmp_path: Path) -> None:
        found = summarize_collection(write_shards(tmp_path / "out", scores))
        assert (found.mean, found.deviation, found.interval) == (0.5, 0.0, (0.5, 0.5))
        assert set(found.percentiles.values()) == {0.5} and sum(found.bars) == len(scores)

    @pytest.mark.parametrize("scores", [[], [np.nan]])
    def test_no_score(self, scores: list[float], tmp_path: Path) -> None:
        found = summarize_collection(write_shards(tmp_path / "out", scores), threshold=0.0)
        assert (found.count, found.errors) == (0, len(scores))
        assert math.isnan(found.mean) and math.isnan(found.percentiles[50]) and found.bars == ()

    def test_a_job_that_runs_still(self, tmp_path: Path) -> None:
        assert not summarize_collection(write_shards(tmp_path / "out", [0.1], complete=False)).is_complete

    def test_what_holds_no_scores_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"has no part-\*\.parquet, nor _unisim\.json"):
            summarize_collection(tmp_path)
        folder = write_shards(tmp_path / "out", [0.1], [0.2])
        write_shards(folder, [0.1], signature="another")
        with pytest.raises(ValueError, match="scores of one signature"):
            summarize_collection(folder)
        (folder / "part-00000.parquet").write_bytes(b"torn")
        with pytest.raises(OSError, match=r"part-00000\.parquet cannot be read"):
            summarize_collection(folder)


class TestFilter:
    @pytest.mark.parametrize("top", [0.01, 0.3, 0.5, 1.0])
    def test_the_best(self, top: float, tmp_path: Path) -> None:
        shards = [drawn(300), drawn(200, seed=1)]
        folder = write_shards(tmp_path / "out", *shards)
        count = filter_collection(folder, tmp_path / "list.parquet", top=top)
        every = np.concatenate(shards)
        found = np.sort(every[~np.isnan(every)])
        kept = every >= found[len(found) - math.ceil(round(top * len(found), 9))]
        table = parquet.read_table(tmp_path / "list.parquet")
        keys = np.array(
            [f"{shard}-{row}" for shard, scores in enumerate(shards) for row in range(len(scores))]
        )
        assert table["unisim_key"].to_pylist() == keys[kept].tolist()
        assert table["unisim_score"].to_pylist() == every[kept].tolist()
        assert count == kept.sum()
        assert table.schema.metadata[b"unisim_signature"].decode() == SIGNATURE
        assert table.column_names == ["unisim_source", "unisim_key", "unisim_score"]

    def test_ties_at_the_end_are_all_kept(self, tmp_path: Path) -> None:
        folder = write_shards(tmp_path / "out", [0.5, 0.1, 0.5], [0.5, np.nan])
        assert filter_collection(folder, tmp_path / "list.parquet", top=0.25) == 3

    def test_from_a_score_on(self, tmp_path: Path) -> None:
        folder = write_shards(tmp_path / "out", [0.1, 0.28, 0.3, np.nan])
        assert filter_collection(folder, tmp_path / "list.parquet", above=0.28) == 2
        assert filter_collection(folder, tmp_path / "list.parquet", above=0.9) == 0
        assert parquet.read_table(tmp_path / "list.parquet").num_rows == 0

    def test_wrong_arguments(self, tmp_path: Path) -> None:
        folder = write_shards(tmp_path / "out", [0.1], complete=False)
        target = tmp_path / "list.parquet"
        with pytest.raises(ValueError, match="Exactly one"):
            filter_collection(folder, target)
        with pytest.raises(ValueError, match=r"share in \(0, 1\]"):
            filter_collection(folder, target, top=30)
        with pytest.raises(ValueError, match="is not complete"):
            filter_collection(folder, target, top=0.3)
        assert not target.exists()
