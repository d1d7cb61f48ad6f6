"""What the metrics say to bad input, and that they are afterwards what they were before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TEXTS, one_by_one, photos, pixels
from PIL import Image

from unisim_metrics import UniSimRanking, UniSimScore
from unisim_metrics.functional import unisim_rank, unisim_score

IMAGES = pixels(4)
GROUPS = IMAGES.view(2, 2, *IMAGES.shape[1:])
FLOATS = IMAGES / 255


@pytest.fixture(scope="module")
def model() -> Any:
    return one_by_one()


def with_value(value: float) -> torch.Tensor:
    images = FLOATS.clone()
    images[1, 2, 3, 4] = value
    return images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A truncated JPEG, a text with an image's name."""
    folder = tmp_path_factory.mktemp("files")
    photos(1)[0].resize((200, 200)).save(folder / "whole.jpg")
    data = (folder / "whole.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "notes.png").write_text("not a picture\n" * 100)
    return folder


BAD_PAIRS: list[Any] = [
    (
        "wrong length",
        (IMAGES, TEXTS[:3]),
        ValueError,
        "`preds` and `target` must have the same length, but got 4 and 3",
    ),
    ("wrong modality", (TEXTS, TEXTS), ValueError, "must be images and images, .* but got texts and texts"),
    (
        "both modalities",
        ([IMAGES[0], "a dog"], None),
        ValueError,
        "`preds` must hold only images or only texts",
    ),
    (
        "NaN",
        (with_value(float("nan")), None),
        ValueError,
        "must hold finite pixels, but got NaN or infinite values",
    ),
    ("infinity", (with_value(float("inf")), None), ValueError, "must hold finite pixels"),
    (
        "0–255 floats",
        (IMAGES.float(), None),
        ValueError,
        r"float pixels in 0–1, but got float values from .*look like 0–255",
    ),
    ("-1–1 floats", (FLOATS * 2 - 1, None), ValueError, "they look like -1–1"),
    ("integers", (IMAGES.long(), None), TypeError, "uint8 .* but got torch.int64"),
    (
        "empty batch",
        (IMAGES[:0], None),
        ValueError,
        "`preds` must hold at least one image or text, but it is empty",
    ),
    ("empty list", ([], None), ValueError, "`preds` must hold at least one image or text, but it is empty"),
    (
        "empty target",
        (IMAGES, []),
        ValueError,
        "`target` must hold at least one image or text, but it is empty",
    ),
    (
        "zero-size image",
        ([IMAGES[0], IMAGES[0, :, :0]], None),
        ValueError,
        "must have pixels, but got a tensor of shape",
    ),
    (
        "zero-size PIL",
        ([Image.new("RGB", (0, 5))], None),
        ValueError,
        r"must have pixels, but got .* size \(0, 5\)",
    ),
    (
        "two dimensions",
        (IMAGES[0, 0], None),
        ValueError,
        r"must have shape \[C, H, W\] or \[N, C, H, W\], but got",
    ),
    (
        "five dimensions",
        (GROUPS, None),
        ValueError,
        r"must have shape \[C, H, W\] or \[N, C, H, W\], but got",
    ),
    (
        "channels last",
        (IMAGES.permute(0, 2, 3, 1), None),
        ValueError,
        "must have 1, 3 or 4 channels, but got shape",
    ),
    (
        "an array, channels first",
        ([np.zeros((3, 8, 8), np.uint8)], None),
        ValueError,
        r"the channels of an array come last: `\.transpose\(1, 2, 0\)`",
    ),
    (
        "None among images",
        ([IMAGES[0], None], None),
        TypeError,
        "`preds` must hold images .* but got builtins.NoneType",
    ),
]
BAD_FILES = [
    ("truncated.jpg", "truncated.jpg"),
    ("notes.png", "notes.png"),
    ("missing.png", "missing.png"),
]
BAD_GROUPS: list[Any] = [
    (
        "N = 1",
        (GROUPS[:, :1], None, None),
        ValueError,
        "`candidates` must hold at least two .* but group 0 has 1",
    ),
    (
        "ragged N = 1",
        ([list(IMAGES[:3]), [IMAGES[3]]], None, None),
        ValueError,
        "at least two .* but group 1 has 1",
    ),
    (
        "no groups",
        (IMAGES, None, None),
        ValueError,
        r"`candidates` must be a tensor \[B, N, C, H, W\], an array \[B, N, H, W, C\] or a sequence",
    ),
    (
        "a flat list",
        (list(IMAGES), None, None),
        ValueError,
        "`candidates` must be a sequence of groups .* entry 0 is a",
    ),
    ("a text", ("a dog", None, None), ValueError, "must be images and images, .* but got texts alone"),
    (
        "empty",
        ([], None, None),
        ValueError,
        "`candidates` must hold at least one image or text, but it is empty",
    ),
    (
        "empty tensor",
        (GROUPS[:0], None, None),
        ValueError,
        "`candidates` must hold at least one image or text",
    ),
    (
        "wrong length",
        (GROUPS, TEXTS[:3], None),
        ValueError,
        "`candidates` and `references` must have the same length",
    ),
    (
        "wrong modality",
        ([TEXTS[:2]], TEXTS[:1], None),
        ValueError,
        "`candidates` and `references` must be images and",
    ),
    ("NaN", (with_value(float("nan")).view(GROUPS.shape), None, None), ValueError, "must hold finite pixels"),
    (
        "choice too high",
        (GROUPS, None, [0, 2]),
        ValueError,
        r"`choices` must be indices .* but got \[0, 2\] for groups",
    ),
    (
        "choice of an absent",
        ([list(IMAGES[:2]), list(IMAGES)], None, [2, 3]),
        ValueError,
        r"got \[2, 3\] .* of \[2, 4\]",
    ),
    (
        "negative choice",
        (GROUPS, None, torch.tensor([0, -1])),
        ValueError,
        r"`choices` must be indices .* \[0, -1\]",
    ),
    (
        "too few choices",
        (GROUPS, None, [0]),
        ValueError,
        r"`choices` must have one entry a group, shape \(2,\), but got \(1,\)",
    ),
    (
        "float choices",
        (GROUPS, None, [0.0, 1.0]),
        TypeError,
        "`choices` must hold integers, but got torch.float32",
    ),
    (
        "named choices",
        (GROUPS, None, ["left", "right"]),
        TypeError,
        r"`choices` must hold integers, but got \['left'",
    ),
]


def unharmed(metric: Any, call: Callable[[], Any], error: type[Exception], message: str) -> None:
    """`call` fails and `metric` is in all respects what it was."""
    before, count, cached = metric.compute(), metric.update_count, metric._forward_cache
    with pytest.raises(error, match=message):
        call()
    assert metric.update_count == count and metric._forward_cache is cached
    metric._computed = None
    torch.testing.assert_close(metric.compute(), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(
    ("name", "batch", "error", "message"), BAD_PAIRS, ids=[case[0] for case in BAD_PAIRS]
)
def test_bad_pairs(model: Any, name: str, batch: Any, error: Any, message: str, reduction: Any) -> None:
    metric = UniSimScore(model, reduction=reduction)
    metric(IMAGES, None if batch[1] is None else TEXTS[:4])
    unharmed(metric, lambda: metric.update(*batch), error, message)
    unharmed(metric, lambda: metric(*batch), error, message)
    fresh = UniSimScore(model, reduction=reduction)
    for call in (fresh.update, fresh, lambda *batch: unisim_score(*batch, model_name_or_path=model)):
        with pytest.raises(error, match=message):
            call(*batch)
    assert fresh.update_count == 0 and "task:inferred" in fresh.signature


@pytest.mark.parametrize(("file", "message"), BAD_FILES)
def test_files_that_cannot_be_read_are_named(model: Any, files: Path, file: str, message: str) -> None:
    metric = UniSimScore(model)
    metric(files / "whole.jpg")
    for call in (metric.update, metric):
        for error in (ValueError, OSError):
            unharmed(metric, lambda call=call: call([files / "whole.jpg", files / file]), error, message)


@pytest.mark.parametrize(
    ("name", "batch", "error", "message"), BAD_GROUPS, ids=[case[0] for case in BAD_GROUPS]
)
def test_bad_groups(model: Any, name: str, batch: Any, error: Any, message: str) -> None:
    metric = UniSimRanking(model)
    metric(GROUPS, None if batch[1] is None else TEXTS[:2], choices=[0, 1])
    unharmed(metric, lambda: metric.update(*batch), error, message)
    unharmed(metric, lambda: metric(*batch), error, message)
    fresh = UniSimRanking(model)
    for call in (fresh.update, fresh):
        with pytest.raises(error, match=message):
            call(*batch)
    assert fresh.update_count == 0 and "task:inferred" in fresh.signature
    if batch[2] is None:
        with pytest.raises(error, match=message):
            unisim_rank(*batch[:2], model)


def test_one_text_is_no_group(model: Any) -> None:
    for call in (UniSimRanking(model).update, lambda *batch: unisim_rank(*batch, model_name_or_path=model)):
        with pytest.raises(ValueError, match=r"`candidates` must be a sequence of groups, but got 'a dog'"):
            call("a dog", IMAGES[:1])


def test_odd_one_out_takes_triplets(model: Any) -> None:
    metric = UniSimRanking(model, task="odd-one-out")
    with pytest.raises(
        ValueError, match=r"`candidates` must hold three images a group for odd-one-out, but got \[2, 2\]"
    ):
        metric.update(GROUPS)
    with pytest.raises(
        ValueError, match=r"must be images alone for task 'odd-one-out', but got images and texts"
    ):
        metric.update([list(IMAGES[:3])], TEXTS[:1])


@pytest.mark.parametrize("kind", [UniSimScore, UniSimRanking])
def test_a_metric_keeps_to_one_task(model: Any, kind: Any) -> None:
    images = IMAGES if kind is UniSimScore else GROUPS
    metric = kind(model)
    metric(images)
    message = r"`task` was inferred as 'quality' from earlier batches, but this batch is 'image-text'"
    for call in (metric.update, metric):
        unharmed(metric, lambda call=call: call(images, TEXTS[: len(images)]), ValueError, message)
    metric.reset()
    metric.update(images, TEXTS[: len(images)])
    assert "|task:image-text|" in metric.signature


def test_a_failure_within_the_model_leaves_the_metric_as_it_was(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for metric, batch in ((UniSimScore(model), IMAGES), (UniSimRanking(model), GROUPS)):
        metric.update(batch)

        def fail(*args: Any) -> None:
            raise RuntimeError("out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(model.backbone, "encode_image", fail)
            unharmed(metric, lambda metric=metric, batch=batch: metric(batch), RuntimeError, "out of memory")
            unharmed(
                metric, lambda metric=metric, batch=batch: metric.update(batch), RuntimeError, "out of memory"
            )
        metric(batch)
        assert metric.update_count == 2


def test_missing_or_unknown_arguments_are_a_type_error(model: Any) -> None:
    for metric in (UniSimScore(model), UniSimRanking(model)):
        for call in (metric.update, metric):
            with pytest.raises(
                TypeError, match=r"missing a required argument|missing 1 required positional argument"
            ):
                call()
            with pytest.raises(TypeError, match="unexpected keyword argument"):
                call(IMAGES, images=IMAGES)
