"""Tables and archives cut into shards: the parts are the whole in its order, none too long, and small to read."""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
from collections.abc import Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from collection_files import encoded, texts, write_archive
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections.pairs import Source
from unisim_metrics.collections.reading import planning
from unisim_metrics.collections.reading.archives import cut_archive, read_archive
from unisim_metrics.collections.reading.planning import Plan, Shard
from unisim_metrics.collections.reading.rows import KEY, Wanted
from unisim_metrics.collections.reading.tables import WHOLE, cut_json_lines, cut_parquet, read_parquet

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


def read_parts(path: Path, most: int) -> list[list[str]]:
    """The keys of the samples that each part of an archive has."""
    parts = cut_archive(str(path), most)
    return [[row[KEY] for row in read_archive(str(path), WANTED, part)] for part in parts]


NAMES = st.sampled_from(
    [
        "0.png",
        "0.json",
        "1.png",
        "1.txt",
        "a/1.png",
        "a.b/2.PNG",
        "none",
        ".hidden",
        "é.png",
        "x" * 150 + ".png",
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(NAMES, max_size=14), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.integers(1, 5)
)
def test_the_parts_of_an_archive(names: list[str], form: int, most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        with tarfile.open(path, "w", format=form) as archive:
            for number, name in enumerate(names):
                entry = tarfile.TarInfo(name)
                entry.size = number * 100
                archive.addfile(entry, io.BytesIO(bytes(entry.size)))
        samples = [name for name in names if re.search(r"(^|/)[^./]+\.[^/]*$", name)]
        keys = [key for key, _ in groupby(re.sub(r"\.[^/]*$", "", name) for name in samples)]
        read = read_parts(path, most)
        assert [key for part in read for key in part] == keys
        assert all(len(part) == most for part in read[:-1]) and len(read[-1]) <= most


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(1, 5))
def test_an_archive_that_ends_early_is_read_in_parts_as_in_whole(share: float, most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        members = [(f"{number}.png", bytes(300 * number)) for number in range(8)]
        path = write_archive(Path(folder) / "a.tar", members)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        whole = [row[KEY] for row in read_archive(str(path), WANTED)]
        assert [key for part in read_parts(path, most) for key in part] == whole


def test_only_large_plain_archives_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [(f"{number}.png", b"") for number in range(5)]
    plain = write_archive(tmp_path / "a.tar", members)
    packed = write_archive(tmp_path / "b.tar.gz", members, "w:gz")
    plan = Plan([str(plain), str(packed)], WANTED, 2)
    assert [shard.part for shard in plan] == [WHOLE, WHOLE]
    monkeypatch.setattr(planning, "LARGE_ARCHIVE", plain.stat().st_size - 1)
    shards = list(plan)
    assert [shard.count() for shard in shards] == [2, 2, 1, None]
    assert len({shard.inputs_hash() for shard in shards}) == 4


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


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "tar"])
def test_what_is_cut_is_scored_as_the_whole(
    kind: str, tiny_clip_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "LARGE_ARCHIVE", 0)
    count = 11
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        table = pyarrow.table(
            {"image": encoded(count, broken=[4]), "prompt": texts(count), "id": range(count)}
        )
        parquet.write_table(table, path, row_group_size=4)
    elif kind == "tar":
        members = []
        for number, content in enumerate(encoded(count, broken=[4])):
            fields = {"prompt": texts(count)[number], "id": number}
            members += [(f"{number}.png", content), (f"{number}.json", json.dumps(fields).encode())]
        write_archive(path, members)
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
