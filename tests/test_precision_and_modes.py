"""Scores do not depend on what surrounds them: autocast, inference mode, other threads, a training loop."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import TEXTS, OneByOne, count_letters, photos, pixels
from torch import Tensor, nn

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore, load_model
from unisim_metrics.functional import unisim_rank, unisim_score
from unisim_metrics.images import Preprocessing

IMAGES, OTHERS = pixels(4), pixels(4, seed=1)
GROUPS = IMAGES.view(2, 2, *IMAGES.shape[1:])
DTYPES = [torch.bfloat16, torch.float16]


def all_scores(model: Any) -> list[Tensor]:
    """What every face of the library makes of the same images."""
    floats = IMAGES / 255
    values = [
        UniSimScore(model, reduction="none")(IMAGES, TEXTS[:4]),
        UniSimScore(model, method="clip-iqa", reduction="none")(floats),
        UniSimScore(model)(photos(4), photos(4, seed=1)),
        *UniSimRanking(model)(GROUPS, TEXTS[:2]).values(),
        unisim_score(floats, OTHERS, model, reduction="none"),
        unisim_rank(GROUPS, TEXTS[:2], model),
        UniSimLoss(model, reduction="none")(floats, TEXTS[:4]),
        UniSimLoss(model, task="odd-one-out")(floats[:3].unsqueeze(0), torch.tensor([1])),
    ]
    return [value.detach() for value in values]


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_inside_autocast_are_those_outside(tiny_model: Any, dtype: torch.dtype) -> None:
    expected = all_scores(tiny_model)
    with torch.autocast("cpu", dtype):
        inside = all_scores(tiny_model)
        assert torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype, (
            "what surrounds the metric stays in autocast"
        )
    for value, wanted in zip(inside, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0, equal_nan=True)


def test_the_gradient_of_the_loss_is_that_of_full_precision(tiny_model: Any) -> None:
    gradients = []
    for enabled in (False, True):
        images = (IMAGES / 255).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = UniSimLoss(tiny_model)(images, TEXTS[:4])
        loss.backward()
        gradients.append(images.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert gradients[0].abs().max() > 0


def test_a_generative_model_leaves_autocast() -> None:
    from tiny_generative import model as tiny_generative

    model = tiny_generative()
    expected = unisim_rank([photos(2)], TEXTS[:1], model)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(unisim_rank([photos(2)], TEXTS[:1], model), expected)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_lightning_logs_the_same_score_in_any_precision(
    tiny_model: Any, tmp_path: Path, precision: Any
) -> None:
    import lightning

    class Generator(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.zeros(1))
            self.score, self.loss = UniSimScore(tiny_model), UniSimLoss(tiny_model)

        def training_step(self, batch: Any, index: int) -> Tensor:
            # Without the seed of a product the network would give other images in bfloat16.
            loss: Tensor = self.loss((batch[0] + 0 * self.weights).clamp(0, 1), batch[1])
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16-mixed")
            self.score.update(*batch)
            self.log("score", self.score)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.0)

    data = torch.utils.data.TensorDataset(IMAGES / 255, OTHERS / 255)
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Generator(), loader, loader)
    expected = unisim_score(IMAGES / 255, OTHERS / 255, tiny_model)
    assert trainer.logged_metrics["score"].item() == pytest.approx(expected.item(), abs=1e-6)
    assert trainer.logged_metrics["loss"].item() == pytest.approx(1 - expected.item(), abs=1e-6)


# Inference mode


@pytest.mark.parametrize("named", [True, False], ids=["by name", "kept"])
def test_a_loss_made_in_inference_mode_can_be_trained_with(tiny_clip_dir: Path, named: bool) -> None:
    with torch.inference_mode():
        loss = UniSimLoss(str(tiny_clip_dir)) if named else UniSimLoss(load_model(tiny_clip_dir))
        loss(IMAGES / 255, TEXTS[:4])
    images = (IMAGES / 255).requires_grad_()
    loss(images, TEXTS[:4]).backward()
    expected = (IMAGES / 255).requires_grad_()
    UniSimLoss(tiny_clip_dir)(expected, TEXTS[:4]).backward()
    assert torch.equal(images.grad, expected.grad)


def test_a_function_first_called_in_inference_mode_keeps_no_inference_tensors(
    tiny_clip_dir: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "other name"
    directory.symlink_to(tiny_clip_dir)
    with torch.inference_mode():
        unisim_score(IMAGES, TEXTS[:4], str(directory))
    images = (IMAGES / 255).requires_grad_()
    unisim_score(images, TEXTS[:4], str(directory)).backward()
    assert images.grad is not None


def test_a_metric_made_in_inference_mode_goes_on_outside(tiny_clip_dir: Path) -> None:
    with torch.inference_mode():
        metrics = [UniSimScore(tiny_clip_dir), UniSimScore(tiny_clip_dir, reduction="none")]
        ranking = UniSimRanking(tiny_clip_dir)
        for metric in metrics:
            metric.update(IMAGES, TEXTS[:4])
        ranking.update(GROUPS)
    for metric in metrics:
        metric.update(IMAGES, TEXTS[:4])
        copied = copy.deepcopy(metric)
        metric.reset()
        metric.merge_state(copied)
        expected = unisim_score(IMAGES, TEXTS[:4], tiny_clip_dir, reduction="none").repeat(2)
        torch.testing.assert_close(
            metric.compute(), expected if metric.reduction == "none" else expected.mean(), rtol=0, atol=1e-6
        )
    ranking.update(GROUPS)
    assert ranking.compute()["win_rate"].shape == (2,)


# Threads


class Noisy(OneByOne):
    """A module whose features depend on its mode, slow enough that threads meet inside."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.met = threading.Barrier(2)

    def encode_image(self, pixels: Tensor) -> Tensor:
        try:
            self.met.wait(0.05)
        except threading.BrokenBarrierError:
            self.met.reset()
        return self.dropout(super().encode_image(pixels))


@pytest.mark.parametrize("gradients", [False, True])
def test_threads_that_share_a_module_in_training_mode_all_evaluate(gradients: bool) -> None:
    module = Noisy().train()
    models = [
        load_model(module, tokenizer=count_letters, preprocessing=Preprocessing(size=8)) for _ in range(2)
    ]
    module.eval()
    expected = unisim_score(IMAGES / 255, OTHERS / 255, models[0], reduction="none")
    module.train()

    def score(index: int) -> Tensor:
        images = (IMAGES / 255).requires_grad_(gradients and index % 3 > 0)
        return unisim_score(images, OTHERS / 255, models[index % 2], reduction="none").detach()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(score, range(24)))
    for result in results:
        assert torch.equal(result, expected)
    assert all(part.training for part in module.modules())
    assert all(weight.requires_grad for weight in module.parameters())


def test_a_failing_pass_gives_the_mode_back() -> None:
    module = OneByOne().train()
    model = load_model(module, tokenizer=count_letters, preprocessing=Preprocessing(size=8))
    module.image_weights.data = module.image_weights.data[:5]
    with pytest.raises(RuntimeError):
        unisim_score((IMAGES / 255).requires_grad_(), OTHERS / 255, model)
    assert module.training and module.image_weights.requires_grad
