"""What scoring a large collection would take: hours of a GPU, cores, bytes read and written; a plan on paper.

    python -m docs.experiments.collection_plan

Every figure follows from the assumptions that stand in `Assumptions`, each of which has an option. FLOPs are computed
from the models' shapes. `--measure` measures what can be measured on this machine, and plans with that: photographs
that come with scikit-image (the extra `demo`) are decoded, and a collection is scored with a model of a few weights.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import open_clip
import torch

from unisim_metrics import UniSimScorer, load_model, score_collection
from unisim_metrics.cli.demo import MORE_PHOTOS, PHOTOS, read_photos
from unisim_metrics.collections.cells import read_image
from unisim_metrics.images import Preprocessing

from .collections import FewWeights

__all__ = ["Assumptions", "Plan", "Tower", "main", "measure", "towers"]

MODELS = ("ViT-B-32", "ViT-L-14-336")
_HOUR, _DAY = 3600, 86_400
_FLOAT32 = 4
_SIDE, _QUALITY = 384, 85
_BATCH = 256


@dataclass(frozen=True)
class Assumptions:
    """What the plan assumes; options of the command have these names.

    Attributes:
        gpu_tflops: The peak of a GPU in TFLOP/s, of the type in which the model runs: 19.5 is an NVIDIA A100 in
            float32, as `unisim score` runs; in bfloat16 it has 312.
        utilisation: Which share of the peak is reached.
        gpus: How many work at a time.
        decode_ms: Milliseconds in which one core decodes and resizes an image.
        engine_ms: Milliseconds of one core for all else of a row: reading archives, batches, writing shards.
        bytes_per_image: Of an encoded image: LAION-5B with shorter sides of up to 384 pixels, 220 TB for 5.86 × 10⁹
            images (img2dataset, `dataset_examples/laion5B.md`).
        rows_per_shard: Images of an archive, which is a shard: the default of img2dataset.
        row_bytes: Bytes of a row in the output, without an embedding.
    """

    gpu_tflops: float = 19.5
    utilisation: float = 0.7
    gpus: int = 8
    decode_ms: float = 1.4
    engine_ms: float = 0.36
    bytes_per_image: float = 37_500
    rows_per_shard: int = 10_000
    row_bytes: float = 7.4


@dataclass(frozen=True)
class Tower:
    """A model's shape, as far as the plan needs it.

    Attributes:
        name: What open_clip calls the model.
        image_flops: Floating-point operations of an image, those of matrix products: two a multiplication.
        text_flops: Those of a text.
        width: Numbers of an embedding.
    """

    name: str
    image_flops: int
    text_flops: int
    width: int


@dataclass(frozen=True)
class Plan:
    """What a collection takes.

    Args:
        images: How many there are.
        tower: The model.
        assumptions: What is assumed.
        texts: Whether each image has a text of its own.
    """

    images: int
    tower: Tower
    assumptions: Assumptions
    texts: bool = False

    @property
    def model_rate(self) -> float:
        """Images a second that pass through the model on one GPU."""
        flops = self.tower.image_flops + (self.tower.text_flops if self.texts else 0)
        return self.assumptions.gpu_tflops * 1e12 * self.assumptions.utilisation / flops

    @property
    def rate(self) -> float:
        """Images a second of one GPU: its one process cannot hand it more than one core of the engine takes."""
        return min(self.model_rate, 1000 / self.assumptions.engine_ms)

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU."""
        return self.images / self.rate / _HOUR

    @property
    def days(self) -> float:
        """Days on all GPUs."""
        return self.images / self.rate / self.assumptions.gpus / _DAY

    @property
    def decoding_cores(self) -> float:
        """Cores that decode for one GPU."""
        return self.rate * self.assumptions.decode_ms / 1000

    @property
    def engine_cores(self) -> float:
        """Cores of the engine for one GPU, at most one."""
        return self.rate * self.assumptions.engine_ms / 1000

    @property
    def bytes_read(self) -> float:
        """Bytes of all images."""
        return self.images * self.assumptions.bytes_per_image

    @property
    def read_rate(self) -> float:
        """Bytes a second that one GPU needs."""
        return self.rate * self.assumptions.bytes_per_image

    @property
    def shards(self) -> int:
        """Archives in, shards out."""
        return -(-self.images // self.assumptions.rows_per_shard)

    @property
    def shard_seconds(self) -> float:
        """Seconds of one GPU for a shard: what a process that dies loses at most."""
        return self.assumptions.rows_per_shard / self.rate

    @property
    def bytes_written(self) -> float:
        """Bytes of the output without embeddings."""
        return self.images * self.assumptions.row_bytes

    @property
    def bytes_with_embeddings(self) -> float:
        """Bytes of the output with embeddings, in float32, which do not compress."""
        return self.bytes_written + self.images * self.tower.width * _FLOAT32


ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("images a second on one GPU, by the model", lambda plan: _rounded(plan.model_rate)),
    ("images a second on one GPU, planned", lambda plan: _rounded(plan.rate)),
    ("hours of one GPU", lambda plan: _rounded(plan.gpu_hours)),
    ("days on {gpus} GPUs", lambda plan: _rounded(plan.days)),
    ("cores that decode, for one GPU", lambda plan: _rounded(plan.decoding_cores)),
    ("cores of the engine, for one GPU", lambda plan: _rounded(plan.engine_cores)),
    ("read", lambda plan: _bytes(plan.bytes_read)),
    ("read a second, by one GPU", lambda plan: _bytes(plan.read_rate)),
    ("shards", lambda plan: f"{plan.shards:,}"),
    ("seconds a shard", lambda plan: _rounded(plan.shard_seconds)),
    ("written without embeddings", lambda plan: _bytes(plan.bytes_written)),
    ("written with embeddings", lambda plan: _bytes(plan.bytes_with_embeddings)),
)


def towers(names: Sequence[str] = MODELS) -> list[Tower]:
    """The shapes of models, from the configurations of open_clip."""
    found = []
    for name in names:
        config = _shape(name)
        vision, text, width = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
        patches = (vision["image_size"] // vision["patch_size"]) ** 2
        cut = 2 * patches * 3 * vision["patch_size"] ** 2 * vision["width"]
        image = cut + _transformer_flops(patches + 1, vision["width"], vision["layers"])
        words = _transformer_flops(text["context_length"], text["width"], text["layers"])
        found.append(
            Tower(name, image + 2 * vision["width"] * width, words + 2 * text["width"] * width, width)
        )
    return found


def measure(photos: int, rows: int) -> dict[str, float]:
    """Measure on this machine, in seconds of its cores, so that neighbours count little.

    Args:
        photos: How many photographs are decoded, the same ones over and over.
        rows: How many rows are scored by a model of a few weights.

    Returns:
        `decode_ms`, of the larger of the models' crops; `engine_ms` and `row_bytes`.
    """
    files = _photographs()
    sizes = [_shape(name)["vision_cfg"]["image_size"] for name in MODELS]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        decode = max(_decoding_seconds(files, photos, Preprocessing(size=size)) for size in sizes)
        engine, written = _engine(files, rows)
    finally:
        torch.set_num_threads(threads)
    return {
        "decode_ms": float(f"{1000 * decode:.2g}"),
        "engine_ms": float(f"{1000 * engine:.2g}"),
        "row_bytes": float(f"{written:.2g}"),
    }


def _shape(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", open_clip.get_model_config(name))


def _transformer_flops(tokens: int, width: int, layers: int) -> int:
    """Matrix products of a transformer whose inner layers are four times as wide."""
    projections = 4 * tokens * width**2
    attention = 2 * tokens**2 * width
    inner = 8 * tokens * width**2
    return 2 * layers * (projections + attention + inner)


def _photographs() -> list[bytes]:
    files = []
    for photo in read_photos([*PHOTOS, *MORE_PHOTOS]).values():
        share = min(1.0, _SIDE / min(photo.size))
        file = io.BytesIO()
        size = round(photo.width * share), round(photo.height * share)
        photo.resize(size).save(file, format="JPEG", quality=_QUALITY)
        files.append(file.getvalue())
    return files


def _decoding_seconds(files: Sequence[bytes], number: int, settings: Preprocessing) -> float:
    """Seconds of this thread for an image."""
    read_image(files[0], "image", settings)
    start = time.thread_time()
    for place in range(number):
        read_image(files[place % len(files)], "image", settings)
    return (time.thread_time() - start) / number


def _engine(files: Sequence[bytes], rows: int) -> tuple[float, float]:
    """Seconds of one core for a row beside decoding it, and its bytes in the output."""
    settings = Preprocessing(size=16)
    model = load_model(
        FewWeights(),
        tokenizer=lambda texts: torch.tensor([[float(len(text))] for text in texts]),
        preprocessing=settings,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(folder / "000000.tar", "w") as archive:
            for place in range(rows):
                content = files[place % len(files)]
                entry = tarfile.TarInfo(f"{place:09}.jpg")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        scorer = UniSimScorer(model, batch_size=_BATCH, workers=1)
        _ = scorer.signature
        start = time.process_time()
        score_collection(folder / "000000.tar", folder / "scored", scorer)
        seconds = (time.process_time() - start) / rows - _decoding_seconds(files, rows, settings)
        written = sum(file.stat().st_size for file in (folder / "scored").glob("part-*.parquet"))
    return seconds, written / rows


def _rounded(value: float) -> str:
    """Three digits, or all of a larger number's before its point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _bytes(count: float) -> str:
    power = next(power for power in (12, 9, 6, 3, 0) if count >= 10**power or not power)
    return f"{_rounded(count / 10**power)} {({12: 'TB', 9: 'GB', 6: 'MB', 3: 'kB', 0: 'B'})[power]}"


def _number(images: int) -> str:
    """A power of ten as such, any other number in full."""
    zeros = len(str(images)) - 1
    if images == 10**zeros:
        return "10" + str(zeros).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{images:,}"


def _positive(kind: type[Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(float(text))
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be more than 0, but got {text}")
        return value

    return parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=_positive(int), nargs="+", default=(10**8, 10**9), metavar="N")
    parser.add_argument("--texts", action="store_true", help="each image has a text of its own")
    for field in fields(Assumptions):
        kind = int if field.type == "int" else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=_positive(kind), metavar="X")
    parser.add_argument("--measure", action="store_true", help="measure on this machine what can be measured")
    parser.add_argument("--measured-images", type=_positive(int), default=2_000, metavar="N")
    options = parser.parse_args(arguments)
    measured: dict[str, float] = {}
    if options.measure:
        measured = measure(options.measured_images, options.measured_images)
    given = {field.name: getattr(options, field.name) for field in fields(Assumptions)}
    assumptions = replace(Assumptions(), **measured | {name: value for name, value in given.items() if value})
    if measured:
        print("Measured: " + ", ".join(f"{name} {value:g}" for name, value in measured.items()) + "\n")
    models = towers()
    print("| model | GFLOP an image | GFLOP a text | numbers of an embedding |\n| --- | ---: | ---: | ---: |")
    for tower in models:
        flops = f"{tower.image_flops / 1e9:.2f} | {tower.text_flops / 1e9:.2f}"
        print(f"| {tower.name} | {flops} | {tower.width} |")
    plans = [Plan(images, tower, assumptions, options.texts) for images in options.images for tower in models]
    heads = " | ".join(f"{_number(plan.images)}, {plan.tower.name}" for plan in plans)
    print(f"\n| what | {heads} |\n| --- |{' ---: |' * len(plans)}")
    for label, figure in ROWS:
        cells = " | ".join(map(figure, plans))
        print(f"| {label.format(gpus=assumptions.gpus)} | {cells} |")


if __name__ == "__main__":
    main()
