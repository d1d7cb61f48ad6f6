"""LPIPS and DISTS on classifiers with random weights in torchvision's layout, against torchmetrics itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from judge_photos import PHOTOS
from oracle import tensor_of
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import (
    deep_image_structure_and_texture_similarity,
    dists,
    learned_perceptual_image_patch_similarity,
    lpips,
)

from unisim_metrics import UniSimLoss, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError, ModelUnavailableError
from unisim_metrics.functional import unisim_rank
from unisim_metrics.models.judges.full_reference import FullReference
from unisim_metrics.models.registry import REGISTRY
from unisim_metrics.models.sources import torch_hub

NAMES = {"lpips-alex": "alexnet", "lpips-vgg": "vgg16", "dists": "vgg16"}


@cache
def random_features(architecture: str) -> dict[str, Tensor]:
    """A classifier's convolutions, with variances that keep the features in range."""
    with torch.device("meta"):
        state = getattr(torchvision.models, architecture)(weights=None).features.state_dict()
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator)
        * (0.1 if tensor.ndim == 1 else (2 / tensor[0].numel()) ** 0.5)
        for name, tensor in state.items()
    }


def whole(architecture: str) -> dict[str, Tensor]:
    """The file of torchvision; the classifier, which nothing reads, is noughts that take no room."""
    with torch.device("meta"):
        state = getattr(torchvision.models, architecture)(weights=None).state_dict()
    features = {f"features.{name}": tensor for name, tensor in random_features(architecture).items()}
    unused = state.keys() - features.keys()
    return features | {name: torch.zeros(1).expand(state[name].shape) for name in unused}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("torchvision")
    for architecture in ("alexnet", "vgg16"):
        torch.save(whole(architecture), folder / f"{architecture}.pth")
    return {name: folder / f"{architecture}.pth" for name, architecture in NAMES.items()}


@cache
def features(architecture: str) -> Any:
    """The classifier's layers."""
    with torch.device("meta"):
        layers = getattr(torchvision.models, architecture)(weights=None).features
    layers = layers.to_empty(device="cpu")
    layers.load_state_dict(random_features(architecture))
    return layers


@pytest.fixture
def distance(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    return measure_by(monkeypatch)


def measure_by(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """Distances by torchmetrics, whose classifiers are given the same weights instead of a download."""
    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda net, pretrained: features(net))
    monkeypatch.setattr(dists, "vgg16", lambda weights: SimpleNamespace(features=features("vgg16")))

    def measure(name: str, images: Tensor, others: Tensor) -> Tensor:
        if name == "dists":
            return deep_image_structure_and_texture_similarity(images, others, reduction="none").detach()
        net: Any = name.removeprefix("lpips-")
        return learned_perceptual_image_patch_similarity(
            images, others, net, "none", normalize=True
        ).flatten()

    return measure


def floats(photo: Image.Image) -> Tensor:
    return tensor_of(photo)[None] / 255


def resized(photo: Image.Image, size: tuple[int, int]) -> Tensor:
    """By Pillow, in floats."""
    channels = [Image.fromarray(channel) for channel in floats(photo)[0].numpy()]
    brought = [np.asarray(channel.resize(size, Image.Resampling.BILINEAR)) for channel in channels]
    return torch.from_numpy(np.stack(brought))[None]


@pytest.mark.parametrize("name", NAMES)
def test_distances(name: str, files: dict[str, Path], distance: Callable[..., Tensor]) -> None:
    model: Any = load_model(f"{name}:{files[name]}")
    targets = [photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for photo in PHOTOS]
    targets[::4] = [photo.resize((photo.width + 8, photo.height - 2)) for photo in targets[::4]]
    pairs = [
        (resized(photo, target.size) if photo.size != target.size else floats(photo), floats(target))
        for photo, target in zip(PHOTOS, targets, strict=True)
    ]
    expected = [-distance(name, *pair).item() for pair in pairs]
    assert max(expected) < 0 and len(set(expected)) == len(expected)
    scores = UniSimScore(model, reduction="none")
    np.testing.assert_allclose(scores(PHOTOS, targets), expected, atol=1e-5)
    np.testing.assert_allclose(scores(PHOTOS[3::-1], targets[3::-1]), expected[3::-1], atol=1e-5)
    assert scores(PHOTOS[0], PHOTOS[0]).item() == pytest.approx(0, abs=1e-6)
    small = [photo.resize((37, 43)) for photo in PHOTOS[:5]]
    batch = torch.cat([floats(photo) for photo in small])
    together = -distance(name, batch[:4], batch[1:])
    np.testing.assert_allclose(scores(batch[:4], batch[1:]), together, atol=1e-5)
    np.testing.assert_allclose(scores(small[:4], small[1:]), together, atol=1e-5)
    ranked = unisim_rank([small[1:3]], [small[0]], model)[0]
    by_hand = [-distance(name, floats(one), floats(small[0])).item() for one in small[1:3]]
    np.testing.assert_allclose(ranked, by_hand, atol=1e-5)
    odd = unisim_rank([small[:3]], None, model, task="odd-one-out")[0]
    others = [
        -distance(name, *(floats(small[place]) for place in pair)).item() for pair in ((1, 2), (2, 0), (0, 1))
    ]
    np.testing.assert_allclose(odd, others, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_pixels(
    name: str, files: dict[str, Path], distance: Callable[..., Tensor]
) -> None:
    model: Any = load_model(f"{name}:{files[name]}")
    photos, targets = (
        torch.cat([floats(photo.resize((35, 33))) for photo in PHOTOS[at : at + 2]]) for at in (0, 2)
    )
    photos = 0.1 + 0.8 * photos  # with room for a step
    pixels = photos.clone().requires_grad_()
    losses = UniSimLoss(model, reduction="none")(pixels, targets)
    losses.sum().backward()
    assert all(weight.grad is None for weight in model.parameters())
    assert pixels.grad is not None
    step = 0.01 * pixels.grad / pixels.grad.norm()
    moved = [distance(name, photos + sign * step, targets).sum() for sign in (1, -1)]
    assert (moved[0] - moved[1]).item() == pytest.approx(0.02 * pixels.grad.norm().item(), rel=0.05)


def test_what_it_cannot(files: dict[str, Path]) -> None:
    model: Any = load_model(f"lpips-alex:{files['lpips-alex']}")
    with pytest.raises(ValueError, match=r"'lpips-alex' answers, but got 'image-text'"):
        UniSimScore(model)(PHOTOS[:1], "a cat")
    with pytest.raises(ValueError, match=r"`preds` must hold images of at least 31 × 31 pixels .* 40 × 30"):
        UniSimScore(model)(torch.zeros(3, 30, 40), torch.zeros(3, 40, 40))
    with pytest.raises(ValueError, match="compares two images"):
        model.embed_images(PHOTOS[:1])
    with pytest.raises(ValueError, match="compares two images"):
        model.embed_texts("a cat")
    assert set(REGISTRY["dists"].tasks) == set(REGISTRY["lpips-vgg"].tasks) == set(FullReference.tasks)


def test_where_weights_come_from(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNISIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch_hub.torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(ModelUnavailableError, match=r"HF_HUB_OFFLINE is set and it is not in torch's cache"):
        load_model("lpips-alex")
    source = files["lpips-alex"]
    entry = REGISTRY["lpips-alex"]
    served = tmp_path / "served" / entry.file
    served.parent.mkdir()
    served.write_bytes(source.read_bytes())
    monkeypatch.setattr(torch_hub, "is_offline", lambda: False)
    with pytest.raises(OSError, match="gave no such file"):
        torch_hub.fetch_url(served.as_uri(), entry.checksum)
    assert torch_hub.fetch_url(served.as_uri(), "").parent == tmp_path / "hub" / "checkpoints"
    assert load_model("lpips-alex").weights_hash() == load_model(f"lpips-alex:{source}").weights_hash()


def test_another_classifiers_file(files: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"alexnet\.pth must be exactly the model's"):
        load_model(f"dists:{files['lpips-alex']}")
    with pytest.raises(CheckpointError, match=r"vgg16\.pth must be exactly the model's"):
        load_model(f"lpips-alex:{files['lpips-vgg']}")
