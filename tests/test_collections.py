"""`score_collection`: every kind of input, what is written, and jobs that end and go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from collection_files import BROKEN, encoded, texts, write_archive, write_folder
from oracle import PlainClip, photos
from pyarrow import parquet

from unisim_metrics import UniSimScorer, score_collection
from unisim_metrics.collections import CollectionReport, Progress
from unisim_metrics.errors import BadRowsError
from unisim_metrics.models import EncoderModel

COUNT = 11
BAD = 4


def write_table(path: Path, columns: Mapping[str, Any], **settings: Any) -> Path:
    parquet.write_table(pyarrow.table(dict(columns)), path, **settings)
    return path


def read(folder: Path) -> dict[str, list[Any]]:
    files = sorted(folder.glob("part-*.parquet"))
    return pyarrow.concat_tables([parquet.read_table(file) for file in files]).to_pydict()


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def names_in(folder: Path) -> set[str]:
    """What a folder holds but for its lock."""
    return {file.name for file in folder.iterdir()} - {".unisim.lock"}


def same(scores: Sequence[float], expected: Any) -> None:
    np.testing.assert_allclose(scores, expected, atol=2e-6)


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return encoded(COUNT, broken=[BAD])


@pytest.fixture(scope="module")
def expected(files: list[bytes], plain: PlainClip) -> np.ndarray:
    scores = plain.attribute(photos(COUNT), "quality", "naive")
    scores[BAD] = np.nan
    return scores


@pytest.fixture(scope="module")
def by_text(plain: PlainClip) -> np.ndarray:
    scores = (plain.images(photos(COUNT)) * plain.texts(texts(COUNT))).sum(1)
    scores[BAD] = np.nan
    return scores


@pytest.fixture
def scorer(tiny_clip_dir: Path) -> UniSimScorer:
    return UniSimScorer(tiny_clip_dir, resample="pil", batch_size=3)


def text_scorer(model: Path, column: str, **settings: Any) -> UniSimScorer:
    return UniSimScorer(model, resample="pil", batch_size=3, text_column=column, **settings)


class TestFiles:
    def test_a_folder(
        self, scorer: UniSimScorer, files: list[bytes], expected: np.ndarray, tmp_path: Path
    ) -> None:
        folder = write_folder(tmp_path / "photos", files)
        done = score_collection(folder, tmp_path / "out", scorer, rows_per_shard=4)
        table = read(tmp_path / "out")
        assert table["unisim_source"] == [str(folder / f"{number}.png") for number in range(COUNT)]
        assert table["unisim_key"] == [str(number) for number in range(COUNT)]
        same(table["unisim_score"], expected)
        assert [bool(error) for error in table["unisim_error"]].index(True) == BAD
        assert done == CollectionReport(
            tmp_path / "out", scorer.signature, COUNT, 1, 3, 0, pytest.approx(done.seconds)
        )
        rows = [parquet.read_metadata(file).num_rows for file in sorted((tmp_path / "out").glob("part*"))]
        assert rows == [4, 4, 3]

    @pytest.mark.parametrize("count", [1, 2])
    def test_few_images(self, scorer: UniSimScorer, count: int, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(count))
        score_collection([folder], tmp_path / "out", scorer)
        same(read(tmp_path / "out")["unisim_score"], scorer({"image": encoded(count)})["unisim_score"])

    def test_globs_files_and_subfolders_in_the_order_given(
        self, scorer: UniSimScorer, tmp_path: Path
    ) -> None:
        write_folder(tmp_path / "a" / "deep", encoded(2))
        write_folder(tmp_path / "a", encoded(11))
        write_folder(tmp_path / "b", encoded(1))
        inputs = [tmp_path / "b" / "0.png", tmp_path / "a", f"{tmp_path}/*/deep/*.png"]
        score_collection(inputs, tmp_path / "out", scorer)
        names = [Path(name).relative_to(tmp_path) for name in read(tmp_path / "out")["unisim_source"]]
        deep = [Path("a/deep/0.png"), Path("a/deep/1.png")]
        assert names == [Path("b/0.png"), *(Path(f"a/{n}.png") for n in range(11)), *deep, *deep]

    def test_what_is_written_about_the_scores(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(2))
        score_collection(folder, tmp_path / "out", scorer.replaced(keep_embedding=True))
        file = tmp_path / "out" / "part-00000.parquet"
        schema = parquet.read_schema(file)
        assert schema.metadata[b"unisim_signature"].decode() == scorer.signature
        assert {field.name: str(field.type) for field in schema} == {
            "unisim_source": "string",
            "unisim_key": "string",
            "unisim_score": "float",
            "unisim_error": "string",
            "unisim_embedding": "fixed_size_list<element: float>[16]",
        }
        vectors = np.stack(parquet.read_table(file)["unisim_embedding"].to_pylist())
        same(vectors, scorer.replaced(keep_embedding=True)({"image": encoded(2)})["unisim_embedding"])
        total = {"shards": 1, "rows": 2, "errors": 0, "signature": scorer.signature}
        assert json.loads((tmp_path / "out" / "_SUCCESS").read_text()) == total

    def test_one_text_for_all(
        self, tiny_clip_dir: Path, plain: PlainClip, files: list[bytes], tmp_path: Path
    ) -> None:
        folder = write_folder(tmp_path / "photos", encoded(COUNT))
        score_collection(
            folder, tmp_path / "out", UniSimScorer(tiny_clip_dir, resample="pil", text="red cat")
        )
        scores = plain.images(photos(COUNT)) @ plain.texts(["red cat"])[0]
        same(read(tmp_path / "out")["unisim_score"], scores)


class TestArchives:
    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_samples_with_texts(
        self, tiny_clip_dir: Path, files: list[bytes], by_text: np.ndarray, mode: str, tmp_path: Path
    ) -> None:
        words = texts(COUNT)
        for number, places in enumerate((range(5), range(5, COUNT))):
            members = [
                member
                for place in places
                for member in (
                    (f"x/{place:03}.png", files[place]),
                    (f"x/{place:03}.txt", words[place].encode()),
                )
            ]
            write_archive(tmp_path / f"{number:02}.tar", members, mode)
        done = score_collection(
            f"{tmp_path}/{{00..01}}.tar",
            tmp_path / "out",
            text_scorer(tiny_clip_dir, "txt", keep_columns=["txt"]),
        )
        table = read(tmp_path / "out")
        same(table["unisim_score"], by_text)
        assert table["unisim_key"] == [f"x/{place:03}" for place in range(COUNT)]
        assert table["txt"] == words
        assert (done.rows, done.errors, done.shards) == (COUNT, 1, 2)

    def test_fields_of_json_and_members_by_extension(
        self, tiny_clip_dir: Path, files: list[bytes], by_text: np.ndarray, tmp_path: Path
    ) -> None:
        members = []
        for place, words in enumerate(texts(COUNT)):
            record = json.dumps({"caption": words, "id": place}).encode()
            members += [(f"{place}.json", record), (f"{place}.PNG", files[place]), (f"{place}.seg.png", b"")]
        write_archive(tmp_path / "a.tar", members)
        score_collection(
            tmp_path / "a.tar", tmp_path / "out", text_scorer(tiny_clip_dir, "caption", keep_columns=["id"])
        )
        table = read(tmp_path / "out")
        same(table["unisim_score"], by_text)
        assert table["id"] == [str(place) for place in range(COUNT)]
        by_extension = text_scorer(tiny_clip_dir, "caption", image_column="png")
        score_collection(tmp_path / "a.tar", tmp_path / "again", by_extension)
        same(read(tmp_path / "again")["unisim_score"], by_text)

    def test_what_a_sample_lacks_costs_its_row(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        (image,) = encoded(1)
        members = [("a.png", image), ("b.png", image), ("b.txt", b"a cat"), ("c.txt", b"a cat"), ("d", b"")]
        write_archive(tmp_path / "a.tar", members)
        score_collection(tmp_path / "a.tar", tmp_path / "out", text_scorer(tiny_clip_dir, "txt"))
        table = read(tmp_path / "out")
        assert table["unisim_key"] == ["a", "b", "c"]
        assert np.isnan(table["unisim_score"]).tolist() == [True, False, True]
        assert ["nothing" in error for error in table["unisim_error"]] == [True, False, True]

    @pytest.mark.parametrize("cut", [64, 512, 700, 1024, 5000])
    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_an_archive_that_ends_early_is_told(
        self, scorer: UniSimScorer, mode: str, cut: int, tmp_path: Path
    ) -> None:
        path = write_archive(
            tmp_path / "a.tar", [(f"{n}.png", data) for n, data in enumerate(encoded(6))], mode
        )
        content = path.read_bytes()
        # Behind the last member a plain archive is padded with much more than its end mark.
        content = content if mode == "w:gz" else content.rstrip(b"\0") + b"\0" * 511
        path.write_bytes(content[:-cut])
        write_archive(tmp_path / "b.tar", [("0.png", encoded(1)[0])])
        done = score_collection(f"{tmp_path}/*.tar", tmp_path / "out", scorer)
        table = read(tmp_path / "out")
        assert done.errors == 1 and done.shards == 2
        place = [bool(error) for error in table["unisim_error"]].index(True)
        assert 0 <= place <= 6 and "cannot be read" in table["unisim_error"][place]
        assert not np.isnan(table["unisim_score"][-1])


class TestTables:
    @pytest.mark.parametrize("kind", ["bytes", "struct", "paths", "urls"])
    def test_parquet(
        self, tiny_clip_dir: Path, files: list[bytes], by_text: np.ndarray, kind: str, tmp_path: Path
    ) -> None:
        folder = write_folder(tmp_path / "data" / "photos", files)
        names = [f"photos/{number}.png" for number in range(COUNT)]
        images: Any = {
            "bytes": files,
            "struct": [{"bytes": data, "path": name} for data, name in zip(files, names, strict=True)],
            "paths": names,
            "urls": [(folder / f"{number}.png").as_uri() for number in range(COUNT)],
        }[kind]
        ids = pyarrow.array(range(COUNT), pyarrow.int16())
        columns = {"id": ids, "photo": images, "prompt": texts(COUNT)}
        write_table(tmp_path / "data" / "a.parquet", columns, row_group_size=4)
        scoring = text_scorer(tiny_clip_dir, "prompt", image_column="photo", keep_columns=["id"])
        score_collection(tmp_path / "data" / "a.parquet", tmp_path / "out", scoring)
        table = parquet.read_table(tmp_path / "out" / "part-00000.parquet")
        same(table["unisim_score"].to_pylist(), by_text)
        assert table["id"].type == pyarrow.int16() and table["id"].to_pylist() == list(range(COUNT))

    def test_json_lines(
        self, tiny_clip_dir: Path, files: list[bytes], by_text: np.ndarray, tmp_path: Path
    ) -> None:
        write_folder(tmp_path / "data" / "photos", files)
        lines = [
            json.dumps({"image": f"photos/{place}.png", "prompt": words, "tags": [place]})
            for place, words in enumerate(texts(COUNT))
        ]
        lines[2:2] = ["", "{", "[1]"]
        (tmp_path / "data" / "a.jsonl").write_text("\n".join(lines))
        scoring = text_scorer(tiny_clip_dir, "prompt", keep_columns=["tags"])
        score_collection(tmp_path / "data" / "a.jsonl", tmp_path / "out", scoring)
        table = read(tmp_path / "out")
        same(np.delete(table["unisim_score"], [2, 3]), by_text)
        assert "line 4 is not JSON" in table["unisim_error"][2]
        assert "line 5 is not a JSON object" in table["unisim_error"][3]
        assert table["tags"][:4] == ["[0]", "[1]", None, None]

    def test_a_store_of_fsspec(
        self, scorer: UniSimScorer, files: list[bytes], expected: np.ndarray, tmp_path: Path
    ) -> None:
        fsspec = pytest.importorskip("fsspec")
        store = fsspec.filesystem("memory")
        for number, data in enumerate(files):
            store.pipe(f"/photos/{number:02}.png", data)
        rows = "".join(json.dumps({"image": f"photos/{number:02}.png"}) + "\n" for number in range(COUNT))
        store.pipe("/a.jsonl", rows.encode())
        try:
            score_collection("memory://a.jsonl", tmp_path / "lines", scorer)
            score_collection("memory://photos/*.png", tmp_path / "images", scorer)
        finally:
            store.rm("/", recursive=True)
        same(read(tmp_path / "lines")["unisim_score"], expected)
        same(read(tmp_path / "images")["unisim_score"], expected)

    def test_an_empty_table(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        write_table(tmp_path / "a.parquet", {"image": pyarrow.array([], pyarrow.binary())})
        assert score_collection(tmp_path / "a.parquet", tmp_path / "out", scorer).rows == 0
        assert read(tmp_path / "out")["unisim_score"] == []

    def test_a_damaged_table_is_told(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(b"no table")
        done = score_collection(tmp_path / "a.parquet", tmp_path / "out", scorer)
        assert (done.rows, done.errors) == (1, 1)
        assert "a.parquet cannot be read from row 0" in read(tmp_path / "out")["unisim_error"][0]


class TestGoingOn:
    def test_what_is_complete_is_not_done_again(
        self, tiny_model: EncoderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = write_folder(tmp_path / "photos", encoded(9, broken=[1]))
        scoring = UniSimScorer(tiny_model, batch_size=2)
        score_collection(folder, tmp_path / "out", scoring, rows_per_shard=3)
        before = contents(tmp_path / "out")
        (tmp_path / "out" / "part-00001.parquet").unlink()
        (tmp_path / "out" / "_SUCCESS").unlink()
        (tmp_path / "out" / ".unisim-0123").write_bytes(b"{")
        (tmp_path / "out" / ".unisim-work").mkdir()
        (tmp_path / "out" / ".unisim-work" / "0123.torn").write_bytes(b"PAR1")
        (tmp_path / "out" / "part-00002.parquet").write_bytes(before["part-00002.parquet"][:-9])
        seen: list[Progress] = []
        done = score_collection(folder, tmp_path / "out", scoring, rows_per_shard=3, progress=seen.append)
        assert (done.rows, done.errors, done.shards, done.skipped) == (9, 1, 3, 1)
        assert contents(tmp_path / "out") == before
        assert [each.rows for each in seen][:2] == [3, 5] and seen[-1].shards == 3
        monkeypatch.setattr(tiny_model, "encode_pixels", None)
        assert score_collection(folder, tmp_path / "out", scoring, rows_per_shard=3).skipped == 3

    def test_inputs_may_be_added_behind(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        a = write_archive(tmp_path / "a.tar", [("0.png", encoded(1)[0])])
        b = write_archive(tmp_path / "b.tar", [("1.png", encoded(1, seed=1)[0])])
        score_collection(a, tmp_path / "out", scorer)
        done = score_collection([a, b], tmp_path / "out", scorer)
        assert (done.shards, done.skipped) == (2, 1)
        with pytest.raises(ValueError, match=r"part-00001\.parquet is of more than there are now"):
            score_collection(a, tmp_path / "out", scorer)
        with pytest.raises(ValueError, match=r"part-00000\.parquet was made of others"):
            score_collection([b, a], tmp_path / "out", scorer)
        write_archive(a, [("0.png", encoded(1)[0]), ("2.png", encoded(1)[0])])
        with pytest.raises(ValueError, match=r"part-00000\.parquet was made of others"):
            score_collection([a, b], tmp_path / "out", scorer)

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"method": "clip-iqa"}, "signature"),
            ({"keep_embedding": True}, "embedding"),
            ({"image_column": "photo"}, "columns"),
        ],
    )
    def test_a_folder_of_other_scores_is_refused(
        self, scorer: UniSimScorer, changes: dict[str, Any], name: str, tmp_path: Path
    ) -> None:
        folder = write_folder(tmp_path / "photos", encoded(1))
        score_collection(folder, tmp_path / "out", scorer)
        before = contents(tmp_path / "out")
        with pytest.raises(ValueError, match=f"must be a folder of the same {name}, but"):
            score_collection(folder, tmp_path / "out", scorer.replaced(**changes))
        assert contents(tmp_path / "out") == before

    def test_other_texts_and_images_for_all_are_refused(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(1))
        first, second = photos(2)
        score_collection(folder, tmp_path / "a", UniSimScorer(tiny_clip_dir, text="a cat"))
        with pytest.raises(ValueError, match="of the same against"):
            score_collection(folder, tmp_path / "a", UniSimScorer(tiny_clip_dir, text="a dog"))
        score_collection(folder, tmp_path / "b", UniSimScorer(tiny_clip_dir, reference=first))
        with pytest.raises(ValueError, match="of the same against"):
            score_collection(folder, tmp_path / "b", UniSimScorer(tiny_clip_dir, reference=second))

    def test_a_folder_of_something_else_is_refused(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(1))
        with pytest.raises(ValueError, match=r"holds no _unisim\.json"):
            score_collection(folder, folder, scorer)
        assert [path.name for path in folder.iterdir()] == ["0.png"]

    def test_a_second_job_in_the_folder_is_refused(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(4))
        refused = []

        def start_another(progress: Progress) -> None:
            with pytest.raises(
                BlockingIOError, match=r"no other job is writing to, but one works in .*out now"
            ):
                score_collection(folder, tmp_path / "out", scorer, rows_per_shard=2)
            refused.append(progress)

        done = score_collection(folder, tmp_path / "out", scorer, rows_per_shard=2, progress=start_another)
        assert refused and (done.rows, done.skipped) == (4, 0)
        assert score_collection(folder, tmp_path / "out", scorer, rows_per_shard=2).skipped == 2

    def test_too_many_bad_rows_end_the_job(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(9, broken=[0, 3, 6]))
        with pytest.raises(
            BadRowsError, match=r"3 of 9 rows cannot be scored, more than the 2 allowed.*6\.png"
        ):
            score_collection(folder, tmp_path / "out", scorer, rows_per_shard=3, max_bad=2)
        assert names_in(tmp_path / "out") == {"_unisim.json", "part-00000.parquet", "part-00001.parquet"}
        with pytest.raises(BadRowsError):  # those of the run before count
            score_collection(folder, tmp_path / "out", scorer, rows_per_shard=3, max_bad=1)
        assert score_collection(folder, tmp_path / "out", scorer, rows_per_shard=3, max_bad=3).errors == 3

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_killed_jobs_end_with_the_bytes_of_one_undisturbed(
        self, tiny_clip_dir: Path, tmp_path: Path
    ) -> None:
        source = write_folder(tmp_path / "photos", encoded(23, broken=[7]))
        for number in range(2):
            members = [(f"{n}.png", data) for n, data in enumerate(encoded(9, seed=number + 1, broken=[2]))]
            write_archive(source / f"{number}.tar", members)
        write_table(source / "a.parquet", {"image": encoded(12, seed=3, broken=[5])}, row_group_size=3)
        out = tmp_path / "out"
        script = Path(__file__).parent / "interrupted_collections.py"
        done = subprocess.run(
            [sys.executable, str(script), str(tiny_clip_dir), str(source), str(out), "10"],
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        killed = json.loads(done.stdout)
        whole = contents(out / "00")
        assert killed[0] == 0 and sum(killed) >= 10
        assert len(whole) == 5 + 2 + 4 + 3
        for number in range(1, len(killed)):
            assert contents(out / f"{number:02}") == whole


class TestDevices:
    def test_several_share_the_shards(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(20, broken=[3]))
        score_collection(folder, tmp_path / "one", scorer, rows_per_shard=3)
        score_collection(folder, tmp_path / "two", scorer, rows_per_shard=3, devices=["cpu", "cpu:0"])
        one, two = read(tmp_path / "one"), read(tmp_path / "two")
        # Each has its own copy of the weights, at another alignment: the last bits may differ.
        np.testing.assert_allclose(two.pop("unisim_score"), one.pop("unisim_score"), atol=1e-6)
        assert two == one

    def test_a_model_stands_on_one_device(self, tiny_model: EncoderModel, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="must name one device for a model that is loaded already"):
            score_collection("a.png", tmp_path / "out", UniSimScorer(tiny_model), devices=["cpu", "cpu:0"])

    def test_an_error_of_one_ends_all(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", [BROKEN] * 30)
        with pytest.raises(BadRowsError):
            score_collection(
                folder, tmp_path / "out", scorer, rows_per_shard=3, devices=["cpu", "cpu:0"], max_bad=4
            )
        assert not [name for name in names_in(tmp_path / "out") if name.startswith(".")]


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ([], "must name at least one"),
            (["."], r"Folder '\.' holds no image file; archives and tables are named by a glob"),
            (["*.png"], r"Nothing that can be scored matches '\*\.png'"),
            (["pairs.csv"], r"must be folders of images, image files, or \.tar.* but got 'pairs\.csv'"),
        ],
    )
    def test_inputs(
        self,
        scorer: UniSimScorer,
        inputs: list[str],
        message: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=message):
            score_collection(inputs, tmp_path / "out", scorer)
        assert not (tmp_path / "out").exists()

    def test_an_archive_that_is_not_there(self, scorer: UniSimScorer, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"gone\.tar"):
            score_collection(tmp_path / "gone.tar", tmp_path / "out", scorer)

    def test_columns_that_are_not_there(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "photos", encoded(1))
        with pytest.raises(ValueError, match="image files have no 'prompt'"):
            score_collection(folder, tmp_path / "out", text_scorer(tiny_clip_dir, "prompt"))
        table = write_table(tmp_path / "a.parquet", {"image": encoded(1), "text": ["a cat"]})
        with pytest.raises(ValueError, match=r"must have a column 'prompt', but has 'image', 'text'"):
            score_collection(table, tmp_path / "other", text_scorer(tiny_clip_dir, "prompt"))
        assert names_in(tmp_path / "other") == {"_unisim.json"}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"engine": "slurm"}, "`engine` must be one of"),
            ({"rows_per_shard": 0}, "`rows_per_shard` must be at least 1"),
            ({"max_bad": -1}, "`max_bad` must be at least 0"),
            ({"engine": "ray", "supervised": True}, "`supervised` must be False for the engine 'ray'"),
            ({"scorer": UniSimScorer(keep_columns=True)}, "must name the columns"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            score_collection(**{"inputs": "a.png", "output": "out", **settings})
