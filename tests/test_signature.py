"""The line that says what made a score."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from conftest import write_clip
from oracle import TEXTS, pixels
from transformers import CLIPModel

from unisim_metrics import Prompts, UniSimRanking, UniSimScore, __version__, load_model
from unisim_metrics.signature import signature

IMAGES = pixels(2)
OWN = Prompts("A tidy room.", "Tidy room.", "Messy room.")


def test_its_form_is_exact(tiny_clip_dir: Path) -> None:
    model = load_model(tiny_clip_dir)
    weights = CLIPModel.from_pretrained(tiny_clip_dir).state_dict()
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].dtype} {tuple(weights[name].shape)}\n".encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    made_by = f"unisim|model:tiny-clip@{digest.hexdigest()[:12]}"

    metric = UniSimScore(model)
    assert metric.signature == f"{made_by}|task:inferred|input:32-bicubic|v:{__version__}"
    metric.update(IMAGES)
    assert metric.signature == f"{made_by}|task:quality/naive|input:32-bicubic|v:{__version__}"
    metric.reset()
    assert "|task:inferred|" in metric.signature
    metric.update(IMAGES, TEXTS[:2])
    assert metric.signature == f"{made_by}|task:image-text|input:32-bicubic|v:{__version__}"
    ranking = UniSimRanking(model, task="brightness", method="clip-iqa")
    assert ranking.signature == f"{made_by}|task:brightness/clip-iqa|input:32-bicubic|v:{__version__}"
    assert signature(model, "quality") == UniSimScore(model, task="quality").signature


def test_everything_that_makes_another_score_makes_another_signature(
    tiny_clip_dir: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_clip_dir)
    other = load_model(write_clip(tmp_path / "tiny-clip", seed=1))
    signatures = [
        signature(model, "quality"),
        signature(model, "quality", "clip-iqa"),
        signature(model, "quality", "naive", OWN),
        signature(model, "quality", "clip-iqa", OWN),
        signature(model, "sharpness"),
        signature(model, "image-image"),
        signature(model, None),
        signature(other, "quality"),
        signature(load_model(tiny_clip_dir, resample="pil"), "quality"),
        signature(load_model(tiny_clip_dir, dtype=torch.bfloat16), "quality"),
    ]
    assert len(set(signatures)) == len(signatures)


def test_what_does_not_touch_the_score_does_not_touch_the_signature(tiny_clip_dir: Path) -> None:
    model = load_model(tiny_clip_dir)
    assert signature(model, "image-text", "clip-iqa", OWN) == signature(model, "image-text")
    assert UniSimScore(model, reduction="none").signature == UniSimScore(model).signature
    assert UniSimScore(model, task="quality").signature == UniSimRanking(model, task="quality").signature


def test_a_weight_changed_in_place_is_seen(tiny_clip_dir: Path) -> None:
    metric = UniSimScore(load_model(tiny_clip_dir))
    before: list[Any] = [metric.signature]
    weight = next(metric.model.backbone.parameters())  # type: ignore[attr-defined]
    with torch.no_grad():
        weight.view(-1)[0] += 1e-3
    assert metric.signature not in before
    with torch.no_grad():
        weight.view(-1)[0] -= 1e-3
