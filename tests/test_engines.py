"""The engines that call a scorer, each by the code of the documentation, where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collection_files import encoded, texts
from docs_pages import read_page

from unisim_metrics import UniSimScorer

parquet = pytest.importorskip("pyarrow.parquet")
pyarrow = pytest.importorskip("pyarrow")

COUNT, BROKEN = 20, 7
PREAMBLE = "from unisim_metrics import UniSimScorer\n"


def snippet(engine: str) -> str:
    """The block of the page that imports an engine."""
    (block,) = [
        block.code
        for block in read_page("docs/scale.md")
        if block.language == "python" and f"import {engine}\n" in block.code
    ]
    return block


def columns() -> dict[str, Any]:
    return {
        "id": list(range(COUNT)),
        "image": encoded(COUNT, broken=[BROKEN]),
        "prompt": texts(COUNT),
    }


def run(code: str, folder: Path, after: str = "", **environment: str) -> str:
    """Run code on `photos.parquet`, in a process of its own, whose engine ends with it; what it prints."""
    (folder / "snippet.py").write_text(f"{PREAMBLE}{code}\n{after}\n", encoding="utf-8")
    parquet.write_table(pyarrow.table(columns()), folder / "photos.parquet")
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "snippet.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def written(folder: Path, names: Sequence[str]) -> Any:
    table = parquet.read_table(folder / "scored").sort_by("id").to_pydict()
    assert set(table) >= set(names)
    return table


def check(table: Any, text_column: str | None) -> None:
    expected = UniSimScorer(text_column=text_column)(columns())["unisim_score"]
    assert table["id"] == list(range(COUNT))
    scores = np.array(table["unisim_score"], float)  # Spark writes NaN of pandas as nothing
    assert np.isnan(scores).nonzero()[0].tolist() == [BROKEN]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed")
def test_ray_data(tmp_path: Path) -> None:
    settings = "import ray\nray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)\n"
    run(settings + snippet("ray"), tmp_path)
    table = written(tmp_path, ["unisim_score", "unisim_error"])
    check(table, "prompt")
    assert [bool(error) for error in table["unisim_error"]].index(True) == BROKEN


@pytest.mark.skipif(find_spec("daft") is None, reason="daft is not installed")
def test_daft(tmp_path: Path) -> None:
    run(snippet("daft"), tmp_path)
    check(written(tmp_path, ["unisim_score"]), None)


@pytest.mark.skipif(
    find_spec("pyspark") is None
    or subprocess.run(["which", "java"], capture_output=True, check=False).returncode != 0,
    reason="pyspark or Java is not installed",
)
def test_spark(tmp_path: Path) -> None:
    run(snippet("pandas as pd"), tmp_path, "spark.stop()", PYSPARK_PYTHON=sys.executable)
    check(written(tmp_path, ["unisim_score", "unisim_error"]), "prompt")


class TestDatasets:
    """`datasets` in this process: a map, a stream, two processes, and its cache."""

    @pytest.fixture
    def dataset(self) -> Any:
        datasets = pytest.importorskip("datasets")
        rows = columns()
        rows["image"] = [{"bytes": file, "path": None} for file in rows["image"]]
        return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image(decode=False))

    def test_map_and_its_cache(self, dataset: Any, tiny_clip_dir: Path, tmp_path: Path) -> None:
        def scored() -> Any:
            return dataset.map(
                UniSimScorer(tiny_clip_dir, text_column="prompt"),
                batched=True,
                batch_size=6,
                cache_file_name=str(tmp_path / "scored.arrow"),
            )

        first = scored()
        expected = UniSimScorer(tiny_clip_dir, text_column="prompt")(columns())
        np.testing.assert_allclose(first["unisim_score"], expected["unisim_score"], atol=1e-6)
        assert list(first["unisim_error"]) == expected["unisim_error"]
        assert first[:2]["image"] == dataset[:2]["image"]
        assert scored()._fingerprint == first._fingerprint

    def test_stream(self, dataset: Any, tiny_clip_dir: Path) -> None:
        stream = dataset.to_iterable_dataset().map(UniSimScorer(tiny_clip_dir), batched=True, batch_size=6)
        expected = UniSimScorer(tiny_clip_dir)(columns())["unisim_score"]
        np.testing.assert_allclose([row["unisim_score"] for row in stream], expected, atol=1e-6)

    def test_two_processes(self, dataset: Any, tiny_clip_dir: Path) -> None:
        scored = dataset.map(UniSimScorer(tiny_clip_dir), batched=True, batch_size=6, num_proc=2)
        expected = UniSimScorer(tiny_clip_dir)(columns())["unisim_score"]
        np.testing.assert_allclose(scored["unisim_score"], expected, atol=1e-6)

    def test_two_processes_of_one_whose_threads_worked(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        """A fork has none of its parent's threads, and would wait for them."""
        pytest.importorskip("datasets")
        code = (
            "import numpy, torch; torch.set_num_threads(2)\n"
            "from datasets import Dataset; from pyarrow.parquet import read_table\n"
            "photos = Dataset(read_table('photos.parquet'))\n"
            f"alone = photos.map(UniSimScorer({str(tiny_clip_dir)!r}), batched=True)\n"
            f"both = photos.map(UniSimScorer({str(tiny_clip_dir)!r}), batched=True, num_proc=2)\n"
            "numpy.testing.assert_allclose(alone['unisim_score'], both['unisim_score'], atol=1e-6)\n"
            "from PIL import Image; from unisim_metrics import UniSimScore\n"
            f"metric = UniSimScore({str(tiny_clip_dir)!r})\n"
            "def score(row):\n"
            "    metric(Image.new('RGB', (400, 400)), row['prompt'])\n"
            "    return {'threads': torch.get_num_threads()}\n"
            "score(photos[0])\n"
            "print(photos.map(score, num_proc=2)['threads'][:], torch.get_num_threads())\n"
        )
        assert run(code, tmp_path) == f"{[1] * COUNT} 2\n"

    def test_pictures_that_it_decodes_are_not_written_anew(self, tiny_clip_dir: Path) -> None:
        datasets = pytest.importorskip("datasets")
        files = [{"bytes": file, "path": None} for file in encoded(4)]
        dataset = datasets.Dataset.from_dict({"image": files}).cast_column("image", datasets.Image())
        scored = dataset.map(UniSimScorer(tiny_clip_dir, resample="pil"), batched=True)
        kept = scored.cast_column("image", datasets.Image(decode=False))
        assert [row["bytes"] for row in kept["image"]] == encoded(4)
        expected = UniSimScorer(tiny_clip_dir, resample="pil")({"image": encoded(4)})["unisim_score"]
        np.testing.assert_allclose(scored["unisim_score"], expected, atol=1e-6)


def test_webdataset(tmp_path: Path, tiny_clip_dir: Path) -> None:
    wds = pytest.importorskip("webdataset")
    rows = columns()
    with wds.TarWriter(str(tmp_path / "photos.tar")) as archive:
        for number, image, text in zip(rows["id"], rows["image"], rows["prompt"], strict=True):
            archive.write({"__key__": f"{number:04}", "png": image, "txt": text})
    samples = wds.WebDataset(str(tmp_path / "photos.tar"), shardshuffle=False)
    scorer = UniSimScorer(tiny_clip_dir, image_column="png", text_column="txt")
    expected = UniSimScorer(tiny_clip_dir, text_column="prompt")(rows)["unisim_score"]
    batches = list(samples.batched(6).map(scorer))
    assert [key for batch in batches for key in batch["__key__"]] == [f"{id_:04}" for id_ in rows["id"]]
    np.testing.assert_allclose(
        np.concatenate([batch["unisim_score"] for batch in batches]), expected, atol=1e-6
    )
    # Without batches a sample is one row.
    np.testing.assert_allclose(
        [sample["unisim_score"] for sample in samples.map(scorer)], expected, atol=1e-6
    )
