"""NumPy images through every door: the same as the tensor of the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from unisim_metrics import UniSimRanking, UniSimScore
from unisim_metrics.images import Preprocessing, list_images, preprocess
from unisim_metrics.models import EncoderModel

SMALL = Preprocessing(size=32)
PHOTO = np.asarray(Image.fromarray(data.coffee()).resize((60, 44)))


def tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.tensor(array.tolist(), dtype=getattr(torch, array.dtype.name))


FORMS: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "as it is": lambda array: array,
    "read only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    "mirrored view": lambda array: np.ascontiguousarray(array[:, ::-1])[:, ::-1],
    "BGR view": lambda array: np.ascontiguousarray(array[..., ::-1])[..., ::-1],
    "Fortran order": np.asfortranarray,
    "float, other byte order": lambda array: (array / 255).astype(">f4"),
    "float32": lambda array: (array / 255).astype(np.float32),
    "float64": lambda array: array / 255,
    "float16": lambda array: (array / 255).astype(np.float16),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", ["[H, W, 3]", "[H, W, 4]", "[H, W, 1]", "[H, W]", "[N, H, W, 3]"])
def test_an_array_is_scored_as_the_tensor_of_its_pixels(form: str, shape: str) -> None:
    channels = {
        "[H, W, 4]": np.dstack([PHOTO, PHOTO[..., 0]]),
        "[H, W, 1]": PHOTO[..., :1],
        "[H, W]": PHOTO[..., 0],
        "[N, H, W, 3]": np.stack([PHOTO, 255 - PHOTO]),
    }
    array = FORMS[form](channels.get(shape, PHOTO))
    native = array.astype(array.dtype.newbyteorder("="))
    planes = tensor(native[None]) if native.ndim == 2 else tensor(np.moveaxis(native, -1, -3))
    assert torch.equal(preprocess(array, SMALL), preprocess(planes, SMALL))
    assert torch.equal(preprocess([array, PHOTO], SMALL)[:-1], preprocess(planes, SMALL))


def test_arrays_are_left_alone_and_a_batch_is_listed_one_by_one() -> None:
    floats = (PHOTO / 255).astype(np.float32)
    before = floats.copy()
    preprocess([floats, np.stack([PHOTO, PHOTO])], SMALL)
    assert np.array_equal(floats, before)
    assert [tuple(image.shape) for image in list_images([floats, np.stack([PHOTO] * 2)])] == [(3, 44, 60)] * 3


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (PHOTO.transpose(2, 0, 1), ValueError, r"channels of an array come last: `\.transpose\(1, 2, 0\)`"),
    (np.zeros((2, 3, 8, 8)), ValueError, r"come last: `\.transpose\(0, 2, 3, 1\)`"),
    (np.zeros((8, 8, 2)), ValueError, r"1, 3 or 4 channels, but got shape \(8, 8, 2\)\.$"),
    (np.zeros(8), ValueError, r"shape \[H, W\], \[H, W, C\] or \[N, H, W, C\], but got \(8,\)"),
    (np.float32(1) * np.ones(()), TypeError, "numpy.float"),
    (np.zeros((1, 2, 8, 8, 3)), ValueError, r"but got \(1, 2, 8, 8, 3\)"),
    (np.zeros((0, 8, 8, 3)), ValueError, "at least one image, but got an empty batch"),
    (np.zeros((0, 8)), ValueError, r"must have pixels, but got an array of shape \(0, 8\)"),
    (PHOTO.astype(np.uint16), TypeError, r"array of uint16: `\(array >> 8\)"),
    (PHOTO.astype(np.int64), TypeError, r"array of int64: if its values are 0–255"),
    (PHOTO > 9, TypeError, r"array of bool: pass `array.astype\(numpy.uint8\) \* 255`"),
    (PHOTO * 1j, TypeError, "array of complex128"),
    (np.ma.masked_greater(PHOTO, 200), TypeError, "must not be a masked array"),
    (PHOTO.astype(np.float32), ValueError, r"they look like 0–255"),
    (np.full((8, 8, 3), np.nan), ValueError, "must hold finite pixels"),
    (np.array([PHOTO, None], dtype=object), TypeError, "array of object"),
]


@pytest.mark.parametrize(("array", "error", "message"), REFUSED)
def test_refused(array: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=r"Argument `pics`.*" + message):
        preprocess(array, SMALL, argument="pics")


def test_metrics_and_rankings_take_arrays(tiny_model: EncoderModel) -> None:
    arrays = [PHOTO, 255 - PHOTO, PHOTO[..., 0], PHOTO[:20]]
    planes = [tensor(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)) for array in arrays]
    texts = ["a photo", "a dog", "a cat", "red"]

    def scores(*inputs: Any) -> torch.Tensor:
        return UniSimScore(tiny_model, reduction="none")(*inputs)

    assert torch.equal(scores(arrays, texts), scores(planes, texts))
    assert torch.equal(scores(arrays), scores(planes))
    batch, same = np.stack(arrays[:2]), torch.stack(planes[:2])
    assert torch.equal(scores(batch, batch[::-1]), scores(same, same.flip(0)))
    assert torch.equal(scores(texts[:2], batch), scores(texts[:2], same))
    assert scores(PHOTO, "a photo").numel() == 1

    groups, same_groups = np.stack([batch, batch[::-1]]), torch.stack([same, same.flip(0)])
    results = []
    for candidates, references in ((groups, batch), (list(groups), list(batch)), (same_groups, same)):
        ranking = UniSimRanking(tiny_model)
        ranking.update(candidates, references)
        results.append(ranking.compute())
    for result in results[:2]:
        assert all(torch.equal(result[name], results[2][name]) for name in ("win_rate", "mean_rank"))


def test_a_batch_of_arrays_passes_the_tower_in_pieces(tiny_model: EncoderModel) -> None:
    batch = np.stack([np.roll(PHOTO, shift, 0) for shift in range(5)])
    passed: list[int] = []
    hook = tiny_model.backbone.vision_model.register_forward_pre_hook(  # type: ignore[union-attr,operator]
        lambda module, args, kwargs: passed.append(len(kwargs.get("pixel_values", args[0] if args else ()))),
        with_kwargs=True,
    )
    try:
        embeddings = tiny_model.embed_images([batch, PHOTO, batch], batch_size=2)
    finally:
        hook.remove()
    assert max(passed) <= 2 and embeddings.shape[0] == 11
    assert sum(passed) == 6  # the batch that stands twice is encoded once
    assert torch.equal(embeddings[:5], embeddings[6:])
