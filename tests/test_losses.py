"""UniSimLoss: what it is, and its gradients to pixels."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from oracle import TEXTS, one_by_one, pixels
from packaging.version import Version
from torch import Tensor

from unisim_metrics import Prompts, UniSimLoss, load_model
from unisim_metrics.functional import hinge_loss, unisim_rank, unisim_score

BYTES, OTHERS = pixels(3), pixels(3, seed=1)
TASKS = [
    ("image-image", (OTHERS,)),
    ("image-text", (TEXTS[:3],)),
    *[(task, ()) for task in ("quality", "brightness", "colorfulness", "contrast", "sharpness")],
]


def floats(dtype: torch.dtype = torch.float32) -> Tensor:
    return (BYTES.to(dtype) / 255).requires_grad_()


@pytest.fixture(scope="module")
def double_model(tiny_clip_dir: Path) -> Any:
    if Version(transformers.__version__) < Version("5"):
        pytest.skip("the mask of CLIP's text tower overflows in float64 before transformers 5")
    return load_model(tiny_clip_dir, dtype=torch.float64)


def assert_slopes_match(loss: Any, images: Tensor) -> None:
    """Central differences along random directions agree with the gradient."""
    (gradient,) = torch.autograd.grad(loss(images), images)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all(), (
        "every image gets a gradient"
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        direction = torch.randn(images.shape, generator=generator, dtype=images.dtype)
        step = 1e-6 * direction
        with torch.no_grad():
            slope = (loss(images + step) - loss(images - step)) / 2e-6
        assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize(
    ("task", "target", "method"),
    [(*case, "naive") for case in TASKS] + [(*case, "clip-iqa") for case in TASKS if not case[1]],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_gradients_reach_the_pixels(double_model: Any, task: Any, target: Any, method: Any) -> None:
    loss = UniSimLoss(double_model, task, method, reduction="sum")
    images = (0.1 + 0.8 * floats(torch.float64)).detach().requires_grad_()
    assert_slopes_match(lambda images: loss(images, *target), images)


def test_gradients_reach_the_images_that_captions_are_scored_against(double_model: Any) -> None:
    loss = UniSimLoss(double_model, reduction="sum")
    images = (0.1 + 0.8 * floats(torch.float64)).detach().requires_grad_()
    assert_slopes_match(lambda images: loss(TEXTS[:3], images), images)


def test_gradients_reach_all_images_of_an_odd_one_out(double_model: Any) -> None:
    # A margin above the range of scores keeps away from the hinge's corner.
    loss = UniSimLoss(double_model, task="odd-one-out", margin=3.0, reduction="sum")
    images = (0.1 + 0.8 * floats(torch.float64)).detach().requires_grad_()
    assert_slopes_match(lambda images: loss(images.unsqueeze(0), [1]), images)


@pytest.mark.parametrize(("task", "target"), TASKS, ids=[task for task, _ in TASKS])
def test_the_loss_is_one_minus_the_score(tiny_model: Any, task: Any, target: Any) -> None:
    images = floats()
    scores = unisim_score(
        images, *target, model_name_or_path=tiny_model, task=task, reduction="none"
    ).detach()
    each = UniSimLoss(tiny_model, task, reduction="none")(images, *target)
    torch.testing.assert_close(each, 1 - scores)
    torch.testing.assert_close(
        UniSimLoss(tiny_model, task, reduction="sum")(images, *target), (1 - scores).sum()
    )
    torch.testing.assert_close(UniSimLoss(tiny_model, task)(images, *target), (1 - scores).mean())


@pytest.mark.parametrize("target", [[2, 0], torch.tensor([2, 0]), torch.tensor([2, 0], dtype=torch.int32)])
def test_the_loss_of_odd_one_out_is_the_papers_hinge(tiny_model: Any, target: Any) -> None:
    triplets = torch.stack([BYTES, OTHERS])
    scores = unisim_rank(triplets, model_name_or_path=tiny_model, task="odd-one-out")
    for reduction in ("none", "mean", "sum"):
        loss = UniSimLoss(tiny_model, task="odd-one-out", margin=0.2, reduction=reduction)(triplets, target)
        torch.testing.assert_close(loss, hinge_loss(scores, torch.tensor([2, 0]), 0.2, reduction))
        assert loss.shape == ((2, 2) if reduction == "none" else ())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradients_come_in_the_precision_of_the_images(tiny_model: Any, dtype: torch.dtype) -> None:
    images = floats(dtype)
    UniSimLoss(tiny_model)(images, TEXTS[:3]).backward()
    assert images.grad is not None and images.grad.dtype == dtype and images.grad.isfinite().all()


def test_images_of_many_sizes_each_get_their_gradient(tiny_model: Any) -> None:
    images = [torch.rand(3, height, 40, requires_grad=True) for height in (33, 50, 64)]
    UniSimLoss(tiny_model)(images, TEXTS[:3]).backward()
    assert all(image.grad is not None and image.grad.abs().sum() > 0 for image in images)


def test_following_the_gradient_lowers_the_loss(tiny_model: Any) -> None:
    loss, images = UniSimLoss(tiny_model), floats()
    optimizer = torch.optim.SGD([images], lr=1.0)
    start = loss(images, TEXTS[:3])
    for _ in range(3):
        optimizer.zero_grad()
        loss(images, TEXTS[:3]).backward()
        optimizer.step()
        images.data.clamp_(0, 1)
    assert loss(images, TEXTS[:3]) < start


def test_the_module_holds_no_weights_and_trains_none(tiny_model: Any) -> None:
    loss = UniSimLoss(tiny_model).train().requires_grad_(True)
    assert loss.state_dict() == {} and list(loss.parameters()) == [] and list(loss.modules()) == [loss]
    loss(floats(), TEXTS[:3]).backward()
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny_model.parameters())
    assert not tiny_model.backbone.training


def test_a_module_that_is_being_trained_gets_no_gradient_from_the_loss() -> None:
    model = one_by_one()
    assert all(weight.requires_grad for weight in model.backbone.parameters())
    UniSimLoss(model)(floats(), TEXTS[:3]).backward()
    assert all(weight.requires_grad and weight.grad is None for weight in model.backbone.parameters())


def test_nothing_is_recorded_without_a_gradient_to_give(tiny_model: Any) -> None:
    assert not UniSimLoss(tiny_model)(BYTES, TEXTS[:3]).requires_grad
    with torch.no_grad():
        assert not UniSimLoss(tiny_model)(floats(), TEXTS[:3]).requires_grad


def test_copies_share_the_model_and_pickles_name_it(tiny_clip_dir: Path) -> None:
    loss = UniSimLoss(tiny_clip_dir, "quality", "clip-iqa", Prompts("a", "b", "c"))
    assert copy.deepcopy(loss).model is loss.model
    data = pickle.dumps(loss)
    assert len(data) < 5_000
    torch.testing.assert_close(pickle.loads(data)(BYTES), loss(BYTES), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (BYTES[:2].view(1, 2, 3, 40, 40), [0, 1]),
            ValueError,
            r"`preds` must hold three images a group for odd-one-out, but got \[2\]",
        ),
        ((BYTES[None], None), TypeError, "`target` must hold integers, but got None"),
        ((BYTES[None], [3]), ValueError, r"`target` must be indices of alternatives .* but got \[3\]"),
        (
            (BYTES[None], [0, 1]),
            ValueError,
            r"`target` must have one entry a group, shape \(1,\), but got \(2,\)",
        ),
        ((BYTES, [0]), ValueError, r"`preds` must be a tensor \[B, N, C, H, W\]"),
    ],
)
def test_the_loss_of_odd_one_out_checks_its_input(
    tiny_model: Any, arguments: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        UniSimLoss(tiny_model, task="odd-one-out")(*arguments)


def test_the_loss_refuses_unknown_settings(tiny_model: Any) -> None:
    with pytest.raises(
        ValueError, match=r"`reduction` must be one of \('mean', 'sum', 'none'\), but got 'max'"
    ):
        UniSimLoss(tiny_model, reduction="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`task` must be one of .* but got 'beauty'"):
        UniSimLoss(tiny_model, task="beauty")  # type: ignore[arg-type]
