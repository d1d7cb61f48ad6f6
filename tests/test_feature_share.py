"""Metrics in a `FeatureShare` score what is there at the update, whatever the same object held before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import OneByOne, count_letters, one_by_one, photos, pixels
from PIL import Image, ImageDraw, ImageSequence
from torch import Tensor
from torchmetrics.wrappers import FeatureShare

from unisim_metrics import UniSimRanking, UniSimScore, load_model
from unisim_metrics.functional import unisim_score
from unisim_metrics.images import Preprocessing
from unisim_metrics.metrics.wrappers import content_of

FIRST, SECOND = photos(2)
SIZE = (40, 40)


def drawn_on(folder: Path) -> Iterator[Any]:
    """One Pillow image, drawn on between two updates."""
    image = FIRST.copy()
    yield image
    ImageDraw.Draw(image).rectangle((0, 0, 20, 20), fill="white")
    yield image


def frames(folder: Path) -> Iterator[Any]:
    """The frames of an animation, which Pillow gives as one object."""
    path = folder / "frames.gif"
    FIRST.resize(SIZE).save(path, save_all=True, append_images=[SECOND.resize(SIZE)])
    with Image.open(path) as image:
        yield from ImageSequence.Iterator(image)


def palette(folder: Path) -> Iterator[Any]:
    """The colours of a palette, changed under the same indices."""
    image = FIRST.convert("P")
    yield image
    image.putpalette(list(reversed(image.getpalette() or [])))
    yield image


def file_written_anew(folder: Path) -> Iterator[Any]:
    path = folder / "same.png"
    for image in (FIRST, SECOND):
        image.save(path)
        yield path


def numpy_buffer(folder: Path) -> Iterator[Any]:
    """A tensor over the memory of an array, whose version torch does not count."""
    buffer = np.array(FIRST.resize(SIZE)).transpose(2, 0, 1).copy()
    tensor = torch.from_numpy(buffer)
    yield tensor
    buffer[...] = np.array(SECOND.resize(SIZE)).transpose(2, 0, 1)
    yield tensor


def inference_tensor(folder: Path) -> Iterator[Any]:
    with torch.inference_mode():
        tensor = pixels(1)[0].clone()
    yield tensor
    with torch.inference_mode():
        tensor.copy_(pixels(2)[1])
    yield tensor


def data_of_a_tensor(folder: Path) -> Iterator[Any]:
    tensor = pixels(1)[0] / 255
    yield tensor
    tensor.data.copy_(pixels(2)[1] / 255)
    yield tensor


def list_of_a_batch(folder: Path) -> Iterator[Any]:
    batch = [FIRST]
    yield batch
    batch[0] = SECOND
    yield batch


CHANGES = [
    drawn_on,
    frames,
    palette,
    file_written_anew,
    numpy_buffer,
    inference_tensor,
    data_of_a_tensor,
    list_of_a_batch,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changed_content_is_scored_anew(tmp_path: Path, change: Any) -> None:
    model = one_by_one()
    shared = FeatureShare(
        {task: UniSimScore(model, task=task, reduction="none") for task in ("quality", "sharpness")}
    )
    alone = UniSimScore(model, reduction="none")
    for item in change(tmp_path):
        batch = item if isinstance(item, list) else [item]
        model.backbone.calls = 0
        shared.update(batch)
        assert model.backbone.calls == 1, "the images of one update are encoded once"
        alone.update(batch)
    first, second = alone.compute()
    assert first != second
    assert torch.equal(shared.compute()["quality"], alone.compute())


def test_a_group_changed_in_place_is_another() -> None:
    model = one_by_one()
    shared = FeatureShare({"a": UniSimRanking(model), "b": UniSimRanking(model, max_alternatives=3)})
    alone = UniSimRanking(model)
    groups = [photos(3)]
    for _ in range(2):
        shared.update(groups, ["a photo"])
        alone.update(groups, ["a photo"])
        groups[0].reverse()
        groups[0][0] = groups[0][0].rotate(90)
    expected = alone.compute()
    for name in ("win_rate", "mean_rank"):
        assert torch.equal(shared.compute()[f"a_{name}"], expected[name])


def test_weights_trained_between_updates_give_other_features() -> None:
    module = OneByOne()
    model = load_model(module, tokenizer=count_letters, preprocessing=Preprocessing(size=8))
    shared = FeatureShare({"a": UniSimScore(model, reduction="none"), "b": UniSimScore(model)})
    images = pixels(2)
    shared.update(images)
    shared.reset()
    with torch.no_grad():
        module.image_weights.mul_(torch.linspace(-1, 1, 6))
    shared.update(images)
    assert torch.equal(shared.compute()["a"], unisim_score(images, None, model, reduction="none"))


def test_no_pixels_are_kept() -> None:
    import gc
    import weakref

    image = FIRST.copy()
    shared = FeatureShare({"a": UniSimScore(one_by_one())})
    shared.update([image])
    kept = weakref.ref(image)
    del image
    gc.collect()
    assert kept() is None


def test_an_unreadable_file_is_told_and_nothing_is_added(tmp_path: Path) -> None:
    shared = FeatureShare({"a": UniSimScore(one_by_one(), reduction="none")})
    shared.update([FIRST])
    with pytest.raises(ValueError, match=r"Image file '.*none\.png' could not be read"):
        shared.update([tmp_path / "none.png"])
    assert shared.compute()["a"].shape == (1,)


ARRAYS = st.lists(st.integers(0, 255), min_size=12, max_size=12).map(
    lambda values: torch.tensor(values, dtype=torch.uint8).view(3, 2, 2)
)


@given(ARRAYS, ARRAYS)
@settings(max_examples=30, deadline=None)
def test_contents_are_equal_exactly_where_pixels_are(first: Tensor, second: Tensor) -> None:
    equal = torch.equal(first, second)
    kinds = [
        lambda tensor: tensor,
        lambda tensor: tensor.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        lambda tensor: tensor.float() / 255,
        lambda tensor: (tensor.float() / 255).bfloat16(),
        lambda tensor: Image.fromarray(tensor.permute(1, 2, 0).numpy()),
    ]
    for kind in kinds[:3] + kinds[4:]:
        assert (content_of(kind(first), "image") == content_of(kind(second), "image")) == equal
        assert content_of(kind(first), "image") == content_of(kind(first.clone()), "image")
    for one, other in itertools.combinations((kinds[0], kinds[2], kinds[3], kinds[4]), 2):
        assert content_of(one(first), "image") != content_of(other(first), "image"), (
            "kinds are prepared apart"
        )
    assert content_of("a", "text") != content_of("b", "text")
    assert content_of(first, "image") != content_of(first.reshape(3, 4, 1), "image")
