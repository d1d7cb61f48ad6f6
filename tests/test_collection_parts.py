"""Tables that are cut into shards: the parts are the whole in its order, none too long, and small to read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from collection_files import encoded, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections.pairs import Source
from unisim_metrics.collections.planning import Plan, Shard
from unisim_metrics.collections.rows import KEY, Wanted
from unisim_metrics.collections.tables import WHOLE, cut_json_lines, cut_parquet, read_parquet

WANTED = Wanted((Source("image", "image"),), ("id",))


def write_groups(path: Path, groups: Sequence[int]) -> Path:
    """A Parquet file whose row groups have so many rows, which are numbered."""
    schema = pyarrow.schema([("image", pyarrow.binary()), ("id", pyarrow.int64())])
    with parquet.ParquetWriter(path, schema) as writer:
        start = 0
        for rows in groups:
            ids = list(range(start, start + rows))
            writer.write_table(pyarrow.table({"image": [b"%d" % i for i in ids], "id": ids}, schema))
            start += rows
    return path


def rows_of(shard: Shard, size: int) -> list[tuple[str, Any]]:
    return [(row[KEY], row["id"]) for row in shard.rows(size)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=6), st.integers(1, 12), st.integers(1, 5))
def test_the_parts_of_a_parquet_file(groups: list[int], most: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write_groups(Path(name) / "a.parquet", groups)
        shards = list(Plan([str(path)], WANTED, most))
        read = [rows_of(shard, size) for shard in shards]
        assert [row for rows in read for row in rows] == [(str(i), i) for i in range(sum(groups))]
        assert all(0 < len(rows) <= most for rows in read) or not groups
        assert [shard.count() for shard in shards] == [len(rows) for rows in read]
        # Whoever begins inside of a row group is a piece of it alone.
        starts, group_ends = {0, *accumulate(groups)}, list(accumulate(groups))
        for shard in shards:
            if shard.part.start not in starts:
                assert shard.part.rows is not None
                end = next(end for end in group_ends if end > shard.part.start)
                assert shard.part.start + shard.part.rows <= end
        assert len({shard.inputs_hash() for shard in shards}) == len(shards)


def id_of(line: bytes) -> str | None:
    """The field that is kept, as the text it becomes."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return str(values["id"]) if isinstance(values, dict) else None


LINES = st.sampled_from(
    [b"", b"  ", b"\r", b"{", b"[1]", b'{"id": 1}', b'{"id": "\xc3\xa9", "image": "x"}\r']
)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES, max_size=12), st.booleans(), st.integers(1, 6))
def test_the_parts_of_a_jsonl_file(lines: list[bytes], ends: bool, most: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.jsonl"
        path.write_bytes(b"\n".join(lines) + (b"\n" if ends else b""))
        expected = [(str(n), line) for n, line in enumerate(lines, start=1) if line.strip()]
        shards = list(Plan([str(path)], WANTED, most))
        read = [list(shard.rows(4)) for shard in shards]
        assert [row[KEY] for rows in read for row in rows] == [key for key, _ in expected]
        for row, (_, line) in zip((row for rows in read for row in rows), expected, strict=True):
            assert row["id"] == id_of(line)
        assert all(len(rows) == most for rows in read[:-1]) and len(read[-1]) <= most
        assert list(Plan([str(path)], WANTED, most)) == shards


def test_small_and_damaged_tables_are_one_part(tmp_path: Path) -> None:
    assert list(cut_parquet(str(write_groups(tmp_path / "a.parquet", [3, 2])), 5)) == [WHOLE]
    assert list(cut_parquet(str(write_groups(tmp_path / "none.parquet", [])), 5)) == [WHOLE]
    (tmp_path / "a.jsonl").write_bytes(b"{}\n" * 5)
    assert list(cut_json_lines(str(tmp_path / "a.jsonl"), 5)) == [WHOLE]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    assert list(cut_parquet(str(tmp_path / "bad.parquet"), 5)) == [WHOLE]


def test_a_plan_looks_for_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n' * 5)
    plan = Plan([str(path)], WANTED, 2)
    shards = list(plan)
    path.write_bytes(b"")
    assert list(plan) == shards and [shard.part.rows for shard in shards] == [2, 2, 1]


def test_of_a_table_that_is_damaged_in_one_part_the_others_are_read(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "a.parquet", [4, 4, 4])
    content = bytearray(path.read_bytes())
    column = parquet.read_metadata(path).row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(content))
    read = [list(shard.rows(2)) for shard in Plan([str(path)], WANTED, 4)]
    assert [len(rows) for rows in read] == [4, 1, 4]
    assert "cannot be read from row 4 on" in read[1][0]["image"].reason


def test_a_row_group_takes_no_more_memory_than_a_piece_of_it(tmp_path: Path) -> None:
    megabyte = 2**20
    noise = np.random.default_rng(0).bytes(megabyte)
    table = pyarrow.table({"image": [noise[i:] + noise[:i] for i in range(64)], "id": range(64)})
    parquet.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    del table
    before, most = pyarrow.total_allocated_bytes(), 0
    for _ in read_parquet(str(tmp_path / "a.parquet"), WANTED, 2):
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < 16 * megabyte


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_cut_table_is_scored_as_the_whole(kind: str, tiny_clip_dir: Path, tmp_path: Path) -> None:
    count = 11
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        table = pyarrow.table(
            {"image": encoded(count, broken=[4]), "prompt": texts(count), "id": range(count)}
        )
        parquet.write_table(table, path, row_group_size=4)
    else:
        for number, content in enumerate(encoded(count, broken=[4])):
            (tmp_path / f"{number}.png").write_bytes(content)
        rows = zip(range(count), texts(count), strict=True)
        lines = [json.dumps({"image": f"{n}.png", "prompt": text, "id": n}) for n, text in rows]
        path.write_text("\n".join(lines))
    scorer = UniSimScorer(tiny_clip_dir, text_column="prompt", batch_size=3, keep_columns=["id"])
    score_collection(path, tmp_path / "whole", scorer)
    done = score_collection(path, tmp_path / "cut", scorer, rows_per_shard=4)
    assert (done.rows, done.errors, done.shards) == (count, 1, 3)
    whole, cut = (
        pyarrow.concat_tables(map(parquet.read_table, sorted(folder.glob("part*"))))
        for folder in (tmp_path / "whole", tmp_path / "cut")
    )
    scores = [table.column("unisim_score").to_numpy() for table in (whole, cut)]
    np.testing.assert_allclose(scores[1], scores[0], atol=2e-6)
    assert cut.drop_columns("unisim_score") == whole.drop_columns("unisim_score")
    (tmp_path / "cut" / "part-00001.parquet").unlink()
    assert score_collection(path, tmp_path / "cut", scorer, rows_per_shard=4).skipped == 2
    with pytest.raises(ValueError, match="must be a folder of the same rows_per_shard"):
        score_collection(path, tmp_path / "cut", scorer, rows_per_shard=5)
