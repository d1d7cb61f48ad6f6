"""What the pages take for granted: photos and tables in the working directory, weights behind names, a data root.

Weights are random and small, and stand where the real ones would come from: on a Hub of this machine, or in the
cache of converted checkpoints. So names, ids and directories are looked up as ever.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docs_benchmark
import docs_diffusers
import docs_trainers
import pytest
import tiny_generative
from checkpoints import authors_state_dict, trained_model, write_checkpoint
from conftest import write_clip
from hub_server import COMMIT, Hub, point_client
from PIL import Image
from skimage import data

from unisim_metrics.models.registry import REGISTRY, pinned_revision

PHOTOS = ("astronaut", "chelsea", "coffee")
PROMPTS = ("a smiling woman", "a close-up of a cat", "a cup of coffee on a wooden table")
_SIDE = 160


def write_photos(folder: Path) -> None:
    """Photos and tables under the names that the pages use."""
    photos = [Image.fromarray(getattr(data, name)()).resize((_SIDE, _SIDE)) for name in PHOTOS]
    names = ("-photo.jpg", "photo.jpg", "original.png", "a.png", "b.png", "c.png")
    for name, photo in zip(names, photos[:1] * 3 + photos, strict=True):
        photo.save(folder / name)
    for name in ("images", "more/deeper", "outputs", "model-a", "model-b", "model-c"):
        (folder / name).mkdir(parents=True)
        for index, photo in enumerate(photos):
            photo.save(folder / name / f"{index}.png")
    (folder / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in PROMPTS))
    rows = [f"images/{index}.png,{prompt}\n" for index, prompt in enumerate(PROMPTS)]
    (folder / "pairs.csv").write_text("".join(["image,text\n", *rows]))
    _write_archives(folder)


def _write_archives(folder: Path) -> None:
    """The photos with their texts as two archives in the layout of WebDataset."""
    for number, places in enumerate(([0, 1], [2])):
        with tarfile.open(folder / f"photos-{number:03}.tar", "w") as archive:
            for place in places:
                archive.add(folder / "images" / f"{place}.png", f"{place}.png")
                text = PROMPTS[place].encode()
                entry = tarfile.TarInfo(f"{place}.txt")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text))


def write_models(folder: Path) -> Path:
    """Small models of random weights: towers, an authors' checkpoint, one that writes, one that paints; a data root."""
    base = write_clip(folder / "clip", seed=1)
    write_clip(folder / "tuned", seed=2)
    tiny_generative.write(folder / "llava")
    docs_diffusers.write_pipeline(folder / "sdxl")
    write_checkpoint(folder / "epoch_1.pt", authors_state_dict(trained_model(base)))
    docs_benchmark.write_data(folder / "data")
    return folder


@contextmanager
def stand_ins(models: Path, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Put all of it around a folder, which becomes the working directory; gives names for the code of a page."""
    write_photos(folder)
    shutil.copy(models / "epoch_1.pt", folder)
    for name in ("path-or-hub-id", "my-adapter"):
        (folder / name).symlink_to(models / "clip")
    docs_benchmark.stand_in(models / "data", folder, patch)
    patch.chdir(folder)
    around = folder.with_name(f"{folder.name}-around")
    _fill_cache(models, around / "cache", patch)
    hub = _fill_hub(models, around / "hub")
    with hub.serve():
        point_client(hub, around / "downloads", patch)
        patch.setenv("HF_TOKEN", "hf_docs")
        patch.setenv("MPLBACKEND", "Agg")
        docs_diffusers.stay_small(patch)
        docs_trainers.stand_in(patch)
        with _evaluate_in(around / "evaluate", patch):
            yield {"__name__": "docs"}


def names_of_tables() -> dict[str, Any]:
    """What the cells of tables call images, texts and groups of them."""
    import torch

    photos = [Image.fromarray(getattr(data, name)()).resize((_SIDE, _SIDE)) for name in PHOTOS]
    return {
        "originals": photos[:2],
        "captions": list(PROMPTS[:2]),
        "candidates": [photos[:2]] * 2,
        "triplets": [photos],
        "pixels": torch.rand(2, 3, _SIDE, _SIDE, requires_grad=True),
    }


def _fill_cache(models: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    for name, entry in REGISTRY.items():
        if entry.kind == "published":
            (cache / name).symlink_to(models / ("llava" if entry.archive else "tuned"))
    patch.setenv("UNISIM_CACHE", str(cache))


def _fill_hub(models: Path, root: Path) -> Hub:
    hub = Hub(root, tokens={"hf_docs": "ORG"})
    for entry in REGISTRY.values():
        for name in (entry.source, entry.base):
            if name and entry.kind != "open_clip" and not (root / name).exists():
                directory = models / ("llava" if entry.kind == "generative" or entry.archive else "clip")
                hub.add(name, directory, pinned_revision(name) or COMMIT)
    hub.add(docs_diffusers.NAME, models / "sdxl")
    return hub


@contextmanager
def _evaluate_in(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    import evaluate

    patch.setattr(evaluate.config, "HF_MODULES_CACHE", folder / "modules")
    patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
    patch.setattr(sys, "path", [*sys.path])
    _forget_evaluate_modules()
    yield
    _forget_evaluate_modules()


def _forget_evaluate_modules() -> None:
    """What was imported from one cache of modules hides what stands in another."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]
