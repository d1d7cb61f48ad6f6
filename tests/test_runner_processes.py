"""Two gloo processes give, to the byte, the results of one."""

from __future__ import annotations

import os
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from benchmark_runs import timeless, write_distinct_sets
from torch import Tensor, distributed
from two_processes import run_in_two, set_launcher_environment

from unisim_metrics import load_model
from unisim_metrics.benchmark import run
from unisim_metrics.benchmark.datasets.own import write_json_lines
from unisim_metrics.benchmark.errors import BenchmarkError
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.models import EncoderModel

SETS = ["nights", "koniq-10k", "koniq-contrast", "hpdv2", "cifar-100-ooo", "roxford"]
BATCH = 8


class ByName:
    """A model that only compares: whichever image is wider."""

    name = "by-width"
    embeds = False
    device = torch.device("cpu")
    input_tag = "any"
    asked = 0

    def weights_hash(self) -> str:
        return "1" * 64

    def to(self, device: object) -> ByName:
        return self

    def embed_images(self, images: object) -> Tensor:
        raise TypeError

    embed_texts = embed_images

    def compare(
        self, references: object, alternatives: list[list[object]], task: object = None, **_: object
    ) -> Tensor:
        self.asked += len(alternatives)
        return torch.tensor([[image.width * 1.0 for image in group] for group in alternatives])  # type: ignore[attr-defined]


def ask(model: EncoderModel, root: Path, results: Path) -> tuple[int, int]:
    """Run everything, and return what passed through the models of this process."""
    encoded = 0
    encode = model.encode_pixels

    def encode_and_count(pixels: Tensor) -> Tensor:
        nonlocal encoded
        encoded += len(pixels)
        return encode(pixels)

    model.encode_pixels = encode_and_count  # type: ignore[method-assign]
    settings = {"results": results, "cache": False, "batch_size": BATCH, "progress": False, "workers": 1}
    warnings.simplefilter("ignore")
    found = run(model, SETS, root, n=10, max_lost=0.2, **settings)  # type: ignore[arg-type]
    assert list(found) == SETS
    try:  # one process meets the text, both learn of it, and the next set is run by both
        run(model, [root / "long.jsonl", "agiqa-3k-quality"], root, **settings)  # type: ignore[arg-type]
    except BenchmarkError as error:
        assert list(error.failures) == ["long"] and list(error.results) == ["agiqa-3k-quality"]
    else:
        raise AssertionError("a text that is too long was taken")
    judge = ByName()
    run(judge, ["hpdv2"], root, n=20, **settings)  # type: ignore[arg-type]
    model.encode_pixels = encode  # type: ignore[method-assign]
    return encoded, judge.asked


def work(rank: int, port: int, threads: int, directory: str, root: str, out: str) -> None:
    torch.set_num_threads(threads)  # sums of floats depend on it
    model = load_model(Path(directory), truncate=False)
    assert isinstance(model, EncoderModel)
    set_launcher_environment(rank, port)
    counts = ask(model, Path(root), Path(out) / "launched")
    for name in ("RANK", "WORLD_SIZE"):
        del os.environ[name]
    distributed.destroy_process_group()
    # As a script does that uses a group itself.
    distributed.init_process_group(
        "gloo",
        f"file://{out}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=120),
    )
    run(model, SETS[:2], root, n=10, results=f"{out}/joined", cache=False, batch_size=BATCH, max_lost=0.2)
    try:
        run(model, ["no-such-set"], root)
    except ValueError as error:
        assert "Argument `dataset`" in str(error)
    assert distributed.is_initialized()
    distributed.barrier()
    distributed.destroy_process_group()
    torch.save(counts, f"{out}/{rank}.pt")


@pytest.fixture(scope="module")
def outcomes(
    tiny_clip_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[tuple[int, int]]]:
    root, out = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("out")
    write_distinct_sets(root)
    paths = sorted((root / "nights" / "distort" / "000").iterdir())
    (root / "nights" / "ref" / "000" / "002.png").write_bytes(b"not an image")
    long = [Sample("dog " * 100, tuple(paths[:2]), 0), Sample("cat", tuple(paths[2:4]), 1)]
    write_json_lines(root / "long.jsonl", long, "image-text", root)

    model = load_model(tiny_clip_dir, truncate=False)
    assert isinstance(model, EncoderModel)
    alone = ask(model, root, out / "alone")
    run_in_two(work, torch.get_num_threads(), str(tiny_clip_dir), str(root), str(out))
    return out, [alone, *(torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2))]


def test_files_are_those_of_one_process(outcomes: tuple[Path, list[tuple[int, int]]]) -> None:
    out, _ = outcomes
    alone = timeless(out / "alone")
    made = {name.split("/")[2] for name in alone if name.startswith("tiny-clip/")}
    assert made == {f"{name}.json" for name in (*SETS, "agiqa-3k-quality", "model_meta")}
    assert any("ref/000/002.png" in content for content in alone.values())
    assert timeless(out / "launched") == alone
    joined = timeless(out / "joined")
    assert len(joined) == 3 and {name: alone[name] for name in joined} == joined


def test_the_work_is_shared(outcomes: tuple[Path, list[tuple[int, int]]]) -> None:
    _, [alone, *shares] = outcomes
    for kind in (0, 1):
        assert sum(share[kind] for share in shares) == alone[kind]
        assert min(share[kind] for share in shares) > 0.3 * alone[kind]
