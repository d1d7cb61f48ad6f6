"""Speed as ratios within one run, next to torchmetrics' `CLIPScore` and the processors of transformers.

    python -m docs.experiments.speed.scoring

Absolute times say little on a shared machine; here every candidate of a comparison runs in turn in the same
process, and the medians are divided. Where memory comes to lie differs between processes and shows in a ratio: several
measure, one after another. The models have random weights: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchmetrics.multimodal import CLIPScore
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from unisim_metrics import UniSimScore
from unisim_metrics.benchmark.costs.efficiency import clip_tokenizer, medians
from unisim_metrics.images import Preprocessing, preprocess
from unisim_metrics.models.encoders.clip import CLIPEncoder

BATCH = 32
FILES = 64
TINY, B_32 = (2, 64, 2, 32), (12, 768, 12, 32)  # layers, width, heads, patch
CAPTION = "a brown dog runs across the grass with a red ball in its mouth"


@dataclass(frozen=True)
class Row:
    """A ratio as one process found it, and what it is to stay below (or, for `at_least`, above)."""

    what: str
    ratio: float
    goal: float
    at_least: bool = False


def random_clip(layers: int, width: int, heads: int, patch: int, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build a CLIP at 224 px with random weights, for the texts of `tokenizer`."""
    tower = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }
    text = {
        **tower,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    config = CLIPConfig(text_config=text, vision_config={**tower, "image_size": 224, "patch_size": patch})
    model = CLIPModel(config)
    model.eval().requires_grad_(False)
    return model


def clip_score(model: CLIPModel, processor: CLIPProcessor) -> CLIPScore:
    """Build a `CLIPScore` that runs with transformers 5, where features come inside an output object."""

    class Shim(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = model
            self.config = model.config

        def get_image_features(self, *args: Any) -> Tensor:
            features: Tensor = self.clip.get_image_features(*args).pooler_output
            return features

        def get_text_features(self, *args: Any) -> Tensor:
            features: Tensor = self.clip.get_text_features(*args).pooler_output
            return features

    return CLIPScore(lambda: (cast(CLIPModel, Shim()), processor))


@contextmanager
def photos(count: int) -> Iterator[list[Path]]:
    """Write `count` JPEG files of 600×400 pixels, cut from the photographs that ship inside scikit-image."""
    from skimage import data

    sources = [
        Image.fromarray(np.asarray(photo)) for photo in (data.astronaut(), data.chelsea(), data.coffee())
    ]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index in range(count):
            source = sources[index % len(sources)]
            left, top = rng.uniform(0, source.width / 4), rng.uniform(0, source.height / 4)
            box = (left, top, left + source.width * 3 / 4, top + source.height * 3 / 4)
            path = Path(folder) / f"{index}.jpg"
            source.resize((600, 400), Image.Resampling.BICUBIC, box=box).save(path, quality=90)
            paths.append(path)
        yield paths


class OpenClipFiles(Dataset[Tensor]):
    """Files through Pillow and open_clip's own transform."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = open_clip.image_transform(224, is_train=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as image:
            return cast(Tensor, self.transform(image))


def layouts() -> dict[str, Tensor]:
    """32 uint8 images 512×512: planar, as most tensors are, and channels last, as files and arrays come."""
    planar = torch.randint(0, 256, (BATCH, 3, 512, 512), dtype=torch.uint8)
    return {"planar": planar, "channels last": planar.contiguous(memory_format=torch.channels_last)}


def preprocessing_rows(rounds: int) -> list[Row]:
    """Images to 224 px, against both processors of transformers."""
    fast, reference = CLIPImageProcessor(), CLIPImageProcessorPil()
    rows = []
    for layout, images in layouts().items():
        seconds = medians(
            {
                "ours": partial(preprocess, images, Preprocessing(size=224)),
                "torchvision": partial(fast, images=list(images), return_tensors="pt"),
                "pil": partial(reference, images=list(images), return_tensors="pt"),
            },
            rounds,
        )
        for name, processor, goal in (
            ("torchvision", "`CLIPImageProcessor` (torchvision)", 0.35),
            ("pil", "`CLIPImageProcessorPil`", 0.10),
        ):
            rows.append(Row(f"{layout}: preprocessing / {processor}", seconds["ours"] / seconds[name], goal))
    return rows


def update_seconds(
    shape: tuple[int, int, int, int], images: Tensor, tokenizer: CLIPTokenizer, rounds: int
) -> dict[str, float]:
    """Median seconds of our metric, of `CLIPScore`, and of their parts, on 32 images and 32 texts."""
    listed = list(images)
    texts = [f"{CAPTION} {index}" for index in range(BATCH)]
    ready = preprocess(images, Preprocessing(size=224))
    tokens = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    model = random_clip(*shape, tokenizer)
    encoder = CLIPEncoder(model, tokenizer, "random", Preprocessing(size=224))
    ours = UniSimScore(encoder)
    theirs = clip_score(model, cast(Any, CLIPProcessor)(CLIPImageProcessor(), tokenizer))

    @torch.no_grad()
    def encode() -> None:
        model.get_image_features(ready)
        model.get_text_features(tokens)

    def prepare() -> None:
        preprocess(images, encoder.preprocessing)
        encoder.tokenize(texts)

    seconds: dict[str, float] = medians(
        {
            "encode": encode,
            "prepare": prepare,
            "update": lambda: ours.update(images, texts),
            "forward": lambda: ours(images, texts),
            "CLIPScore.update": lambda: theirs.update(listed, texts),
            "CLIPScore.forward": lambda: theirs(listed, texts),
        },
        rounds,
    )
    return seconds


def update_rows(tokenizer: CLIPTokenizer, rounds: int) -> list[Row]:
    """`update` and `forward`: where preparing the images costs most, and where encoding them does."""
    rows = []
    for layout, images in layouts().items():
        seconds = update_seconds(TINY, images, tokenizer, rounds)
        rows += [
            Row(
                f"tiny CLIP, {layout}: `{ours}` / {name}",
                seconds[ours] / seconds[theirs],
                goal,
            )
            for ours, theirs, name, goal in (
                ("update", "encode", "bare encoder passes", 1.75),
                ("update", "CLIPScore.update", "`CLIPScore.update`", 0.5),
                ("forward", "CLIPScore.forward", "`CLIPScore.forward`", 0.5),
                ("forward", "update", "`update`", 1.05),
            )
        ]
    # The encoder takes nearly all the time: as fast as `CLIPScore`, and twice as fast where that encodes twice, within
    # the resolution of 5 %.
    seconds = update_seconds(B_32, layouts()["planar"], tokenizer, max(rounds // 4, 3))
    rows += [
        Row(f"ViT-B/32: {name}", seconds[ours] / seconds[theirs], goal)
        for ours, theirs, name, goal in (
            ("prepare", "encode", "(preprocessing + tokenising) / encoding", 0.01),
            ("update", "CLIPScore.update", "`update` / `CLIPScore.update`", 1.05),
            ("forward", "CLIPScore.forward", "`forward` / `CLIPScore.forward`", 0.525),
            ("forward", "update", "`forward` / `update`", 1.05),
        )
    ]
    return rows


def file_rows(rounds: int) -> list[Row]:
    """JPEG files to tensors."""
    with photos(FILES) as paths:
        dataset = OpenClipFiles(paths)
        loader = DataLoader(dataset, batch_size=BATCH, num_workers=2, persistent_workers=True)
        seconds = medians(
            {
                "ours": lambda: preprocess(paths, Preprocessing(size=224, crop="round")),
                "main thread": lambda: [dataset[index] for index in range(len(dataset))],
                "persistent workers": lambda: list(loader),
            },
            rounds,
        )
    main, workers = seconds["main thread"] / seconds["ours"], seconds["persistent workers"] / seconds["ours"]
    return [
        Row("JPEG → tensor: speed-up over Pillow + open_clip's transform", main, 4.0, at_least=True),
        Row("JPEG → tensor: speed-up over a DataLoader of 2 persistent workers", workers, 2.5, at_least=True),
    ]


def growth_rows(tokenizer: CLIPTokenizer, rounds: int) -> list[Row]:
    """`forward` after 5,000 batches against `forward` of a new metric: states must not grow."""
    model = random_clip(1, 32, 2, 32, tokenizer)
    encoder = CLIPEncoder(model, tokenizer, "one layer", Preprocessing(size=224))
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    old, new = UniSimScore(encoder), UniSimScore(encoder)
    for _ in range(5000):
        old.update(images, [CAPTION])
    seconds = medians(
        {"old": lambda: old(images, [CAPTION]), "new": lambda: new(images, [CAPTION])}, rounds * 10
    )
    return [
        Row(
            "`forward` after 5,000 batches / `forward` of a new metric", seconds["old"] / seconds["new"], 1.05
        )
    ]


def measure(rounds: int, threads: int) -> list[Row]:
    """Measure all rows in this process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    tokenizer = clip_tokenizer()
    rows = preprocessing_rows(rounds)
    rows += update_rows(tokenizer, rounds)
    rows += file_rows(rounds)
    return rows + growth_rows(tokenizer, rounds)


def table(runs: list[list[Row]]) -> str:
    """Return what several processes found as a Markdown table of medians and of ranges."""
    lines = ["| ratio | median | from – to | goal | holds |", "| --- | --- | --- | --- | --- |"]
    for rows in zip(*runs, strict=True):
        row, ratios = rows[0], [row.ratio for row in rows]
        ratio = statistics.median(ratios)
        sign, holds = ("≥", ratio >= row.goal) if row.at_least else ("≤", ratio <= row.goal)
        lines.append(
            f"| {row.what} | {ratio:.3g} | {min(ratios):.3g} – {max(ratios):.3g} | {sign} {row.goal:g} |"
            f" {'yes' if holds else '**no**'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=3, help="how many processes measure, one at a time")
    parser.add_argument("--rounds", type=int, default=16, help="how often every candidate runs in each")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    arguments = parser.parse_args()
    runs = []
    for _ in range(arguments.processes):
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            runs.append(process.submit(measure, arguments.rounds, arguments.threads).result())
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} threads,")
    print(
        f"torch {torch.__version__}, {arguments.rounds} rounds in each of {arguments.processes} processes\n"
    )
    print(table(runs))


if __name__ == "__main__":
    main()
