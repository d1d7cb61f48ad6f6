"""Every judge that is read from a file: how its published files look, tiny, and what it must answer, by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import open_clip
import pytest
import test_blip_judges
import test_clip_judges
import test_dreamsim
import test_dreamsim_ensemble
import test_full_reference
import test_hpsv3
import test_liqe
import test_word_ratings
import torch
from clip_files import PlainCLIP, normalised, random_weights, write
from judge_photos import CAPTIONS, PHOTOS
from PIL import Image
from torch import Tensor

Answers: TypeAlias = dict[str, np.ndarray]
"""The scores of a task: of each photograph with its text (`image-text`), alone (`quality`), with the photograph before
it (`image-image`)."""

BEFORE = [PHOTOS[-1], *PHOTOS[:-1]]


@dataclass(frozen=True)
class Case:
    """A judge.

    Attributes:
        name: Its name in the registry.
        write: Writes its files into a folder, and returns what `load_model` is given.
        answer: What it answers, by hand.
        file: A file of weights in that folder; nothing if there is one alone.
        key: Under which key it holds them, if not bare.
        tensor: One of its weights.
    """

    name: str
    write: Callable[[Path, pytest.MonkeyPatch], Path]
    answer: Callable[[pytest.MonkeyPatch], Answers]
    tensor: str
    key: str | None = None
    file: str = ""


def _by_embeddings(images: np.ndarray, texts: np.ndarray | None = None) -> Answers:
    answers = {"image-image": (images * np.roll(images, 1, axis=0)).sum(-1)}
    return answers if texts is None else {**answers, "image-text": (images * texts).sum(-1)}


def _clip(
    name: str, sizes: str, prepare: Callable[[Image.Image], Image.Image], prefix: str = "", **pixels: Any
) -> Case:
    """A judge in CLIP's own layout."""

    def write_file(folder: Path, patch: pytest.MonkeyPatch) -> Path:
        patch.setattr(open_clip, "get_model_config", test_clip_judges.SIZES.get)
        return write(folder / "weights.pt", random_weights(test_clip_judges.SIZES[sizes]))

    def answer(_: pytest.MonkeyPatch) -> Answers:
        plain = PlainCLIP(random_weights(test_clip_judges.SIZES[sizes]), test_clip_judges.SIZES[sizes])
        images = plain.images(torch.stack([normalised(prepare(photo), **pixels) for photo in PHOTOS]))
        return _by_embeddings(images, plain.texts([prefix + text for text in CAPTIONS]))

    return Case(name, write_file, answer, "visual.proj", "state_dict")


def _write_blip(weights: Callable[[], dict[str, Tensor]], key: str | None) -> Any:
    def write_file(folder: Path, patch: pytest.MonkeyPatch) -> Path:
        test_blip_judges.shrink(patch, folder)
        torch.save(weights() if key is None else {key: weights()}, folder / "weights.pth")
        return folder / "weights.pth"

    return write_file


def _unit(vectors: list[Tensor]) -> np.ndarray:
    rows = torch.stack(vectors)
    return (rows / rows.norm(dim=-1, keepdim=True)).numpy()


def _answer_blip(_: pytest.MonkeyPatch) -> Answers:
    hand = test_blip_judges.ByHand(test_blip_judges.blip_weights())
    tokens = [hand.image(normalised(test_clip_judges.cropped(photo)))[0] for photo in PHOTOS]
    images = _unit([hand.linear("vision_proj", token) for token in tokens])
    texts = _unit([hand.linear("text_proj", hand.text(text)) for text in CAPTIONS])
    return {"image-text": (images * texts).sum(-1), **_by_embeddings(_unit(tokens))}


def _answer_imagereward(_: pytest.MonkeyPatch) -> Answers:
    hand = test_blip_judges.ByHand(test_blip_judges.reward_weights())
    pixels = [normalised(test_clip_judges.cropped(photo)) for photo in PHOTOS]
    pairs = zip(pixels, CAPTIONS, strict=True)
    return {"image-text": np.array([test_blip_judges.reward(hand, *pair) for pair in pairs])}


def _write_hpsv3(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    test_hpsv3.shrink(patch, folder)
    torch.save({"model": test_hpsv3.published_weights()}, folder / "weights.pth")
    return folder / "weights.pth"


def _answer_liqe(_: pytest.MonkeyPatch) -> Answers:
    ratings, means, texts = test_liqe.by_hand(PHOTOS, CAPTIONS)
    return {"quality": ratings, **_by_embeddings(means, texts)}


def _write_ensemble(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    test_dreamsim_ensemble.shrink(patch)
    return test_dreamsim_ensemble.write_folder(folder / "ensemble")


def _word_ratings(name: str) -> Case:
    """A judge tuned from mPLUG-Owl2."""

    def answer(_: pytest.MonkeyPatch) -> Answers:
        return {"quality": test_word_ratings.BY_HAND[name](PHOTOS)}

    return Case(
        name,
        lambda folder, _: test_word_ratings.write_folder(folder / "model"),
        answer,
        "model.visual_abstractor.vit_eos",
        file="pytorch_model.bin",
    )


def _full_reference(name: str) -> Case:
    """A judge over a classifier of torchvision."""

    def write_file(folder: Path, _: pytest.MonkeyPatch) -> Path:
        torch.save(test_full_reference.whole(test_full_reference.NAMES[name]), folder / "weights.pth")
        return folder / "weights.pth"

    def answer(patch: pytest.MonkeyPatch) -> Answers:
        measure = test_full_reference.measure_by(patch)
        pairs = [
            (test_full_reference.resized(photo, before.size), test_full_reference.floats(before))
            for photo, before in zip(PHOTOS, BEFORE, strict=True)
        ]
        return {"image-image": np.array([-measure(name, *pair).item() for pair in pairs])}

    return Case(name, write_file, answer, "features.0.bias")


CASES = (
    _clip("hpsv2", "ViT-H-14", test_clip_judges.padded),
    _clip("hpsv2.1", "ViT-H-14", test_clip_judges.padded),
    _clip("pac-s-vit-b-32", "ViT-B-32-quickgelu", test_clip_judges.cropped, "A photo depicts "),
    _clip(
        "pac-s-vit-l-14",
        "ViT-L-14",
        test_clip_judges.cropped,
        "A photo depicts ",
        mean=[0.5] * 3,
        std=[0.5] * 3,
    ),
    Case(
        "blip-vit-l-16",
        _write_blip(test_blip_judges.blip_weights, "model"),
        _answer_blip,
        "visual_encoder.norm.bias",
        "model",
    ),
    Case(
        "imagereward",
        _write_blip(test_blip_judges.reward_weights, None),
        _answer_imagereward,
        "blip.visual_encoder.norm.bias",
    ),
    Case(
        "hpsv3",
        _write_hpsv3,
        lambda _: {"image-text": test_hpsv3.by_hand(PHOTOS, CAPTIONS)},
        "rm_head.5.bias",
        "model",
    ),
    Case(
        "dreamsim-vit-b-32",
        test_dreamsim.write_folder,
        lambda _: _by_embeddings(*test_dreamsim.by_hand(PHOTOS, CAPTIONS)),
        "norm.bias",
        "state_dict",
        "open_clip_vitb32_pretrain.pth.tar",
    ),
    Case(
        "dreamsim-ensemble",
        _write_ensemble,
        lambda _: _by_embeddings(test_dreamsim_ensemble.by_hand(PHOTOS)),
        "norm.bias",
        "state_dict",
        "clip_vitb16_pretrain.pth.tar",
    ),
    Case("liqe", test_liqe.write_file, _answer_liqe, "clip_model.visual.proj", "params"),
    *map(_full_reference, test_full_reference.NAMES),
    *map(_word_ratings, test_word_ratings.BY_HAND),
)
