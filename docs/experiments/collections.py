"""What streaming a collection costs: its speed beside that of its parts, and its memory as the collection grows.

    python -m docs.experiments.collections

Small JPEG images are drawn into archives. In turns, and on the same images, the encoder runs on tensors that are
ready, files are decoded to such tensors, and `score_collection` does both. The memory is that of processes of their
own, over a small and a large collection with a model of a few weights, so that no weights hide what grows. It is read
from `/proc`, so this needs Linux.
"""

from __future__ import annotations

import argparse
import io
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unisim_metrics import UniSimScorer, load_model, score_collection
from unisim_metrics.collections.cells import read_image
from unisim_metrics.images import Preprocessing, preprocess
from unisim_metrics.images.threads import ahead
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.encoders.base import default_batch_size

from .soft_colours import draw_jpegs

MODEL = "unisim-mini"
WIDTH, HEIGHT = 320, 240
BATCH = 32
SHARDS = 40
_THREADS = 2


class FewWeights(nn.Module):
    """A user's module: one matrix a tower."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.image_weights = nn.Parameter(torch.randn(3 * 16 * 16, 8, generator=generator))
        self.text_weights = nn.Parameter(torch.randn(1, 8, generator=generator))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed images."""
        return pixels.flatten(1) @ self.image_weights

    def encode_text(self, lengths: Tensor) -> Tensor:
        """Embed the lengths of texts."""
        return lengths @ self.text_weights


def write_archives(folder: Path, files: Sequence[bytes], number: int) -> None:
    """Write so many images, the files over and over, into archives."""
    folder.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:03}.tar", "w") as archive:
            for place in range(shard * number // SHARDS, (shard + 1) * number // SHARDS):
                entry = tarfile.TarInfo(f"{place:08}.jpg")
                content = files[place % len(files)]
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def batches_of(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Cut items into batches."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def compare_speed(files: Sequence[bytes], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Time the parts and the whole in turns, seconds by name."""
    write_archives(folder / "speed", files, len(files))
    model = load_model(MODEL)
    assert isinstance(model, EncoderModel)
    settings = model.preparation()
    assert settings is not None
    scorer = UniSimScorer(MODEL, device="cpu", batch_size=BATCH, workers=_THREADS)
    _ = scorer.signature  # loads and hashes the weights

    def prepare(images: Sequence[Any]) -> Tensor:
        return preprocess(list(images), settings)

    def decode(file: bytes) -> Any:
        return read_image(file, "image", settings)

    # In the passes that the model takes by itself.
    ready = [
        pixels
        for part in batches_of(files)
        for pixels in prepare([decode(file) for file in part]).split(default_batch_size(model))
    ]
    seconds: dict[str, list[float]] = {"encoder": [], "decoding": [], "collection": []}
    for turn in range(rounds + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            for pixels in ready:
                model.encode_pixels(pixels)
        encoded = time.perf_counter()
        for _, images in ahead(batches_of(files), decode, _THREADS):
            prepare(images)
        decoded = time.perf_counter()
        score_collection(f"{folder}/speed/*.tar", folder / f"scored-{turn}", scorer)
        done = time.perf_counter()
        if turn:  # the first is to warm up
            for name, value in zip(
                seconds, (encoded - start, decoded - encoded, done - decoded), strict=True
            ):
                seconds[name].append(value)
    return seconds


def peak_memory(source: Path, output: Path) -> int:
    """The most memory, in bytes, of a process that scores a collection."""
    command = [sys.executable, "-m", "docs.experiments.collections", "--measure", str(source), str(output)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(source: Path, output: Path) -> None:
    """Score a collection here and print the most memory that this took."""
    torch.set_num_threads(1)
    model = load_model(
        FewWeights(),
        tokenizer=lambda texts: torch.tensor([[float(len(text))] for text in texts]),
        preprocessing=Preprocessing(size=16),
    )
    report = score_collection(
        f"{source}/*.tar", output, UniSimScorer(model, batch_size=BATCH, workers=_THREADS)
    )
    assert report.errors == 0
    # Not `ru_maxrss`, which a process begins with that of the one which started it.
    (most,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
    print(int(most) * 1024)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=320, help="images that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--collections", type=int, nargs=2, default=(4_000, 40_000), metavar="N")
    parser.add_argument("--measure", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measure(*options.measure)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = draw_jpegs(options.images, (WIDTH, HEIGHT), quality=85)
        torch.set_num_threads(1)
        seconds = compare_speed(files, options.rounds, folder)
        peaks = []
        for number in options.collections:
            write_archives(folder / str(number), files, number)
            peaks.append(peak_memory(folder / str(number), folder / f"{number}-scored"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    parts = [(e + d) / c for e, d, c in zip(*seconds.values(), strict=True)]
    print("| what | found |\n| --- | --- |")
    for name, label in (
        ("encoder", f"images a second, `{MODEL}` on tensors that are ready"),
        ("decoding", "images a second, decoding to such tensors"),
        ("collection", "images a second, `score_collection`"),
    ):
        print(f"| {label} | {options.images / medians[name]:.0f} |")
    shares = ", ".join(f"{part:.2f}" for part in parts)
    print(f"| `score_collection` / its parts one after the other, by rounds | {shares} |")
    (few, many), (small, large) = options.collections, peaks
    print(f"| most memory over {few:,} images, over {many:,} | {small >> 20} MiB, {large >> 20} MiB |")
    print(f"| the second / the first | {large / small:.2f} |")


if __name__ == "__main__":
    main()
