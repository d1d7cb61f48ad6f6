"""Judges other than UniSim as rewards of diffusion pipelines: PickScore against transformers; who is refused, when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_full_reference
import tiny_generative
import torch
from diffusion import Tiny, seeds, steps_taken
from oracle import PlainClip, pixels
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from unisim_metrics import load_model
from unisim_metrics.errors import GradientError
from unisim_metrics.integrations.diffusers import (
    UniSimGuidanceCallback,
    UniSimReward,
    best_of_n,
    optimize_latents,
)
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.models import loading

TEXT = "a photo of a dog"
TEXTS = [TEXT, "a red bicycle, leaning on a wall"]


def load_pickscore(directory: Path, **options: Any) -> Any:
    """PickScore as it is loaded by name, with a tiny model in the place of what the Hub holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "fetch_snapshot", lambda *_, **__: directory)
        return load_model("pickscore", **options)


@pytest.fixture(scope="module")
def pickscore(tiny_clip_dir: Path) -> Any:
    return load_pickscore(tiny_clip_dir)


@pytest.fixture(scope="module")
def exact(tiny_clip_dir: Path) -> Any:
    return load_pickscore(tiny_clip_dir, resample="pil")


@pytest.fixture(scope="module")
def lpips(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("lpips") / "alexnet.pth"
    torch.save(test_full_reference.whole("alexnet"), file)
    return load_model(f"lpips-alex:{file}")


@pytest.fixture
def tiny() -> Iterator[Tiny]:
    """A pipeline; at the end of the test its denoiser must not have been called."""
    tiny = Tiny("sd", images=1)
    calls = steps_taken(tiny.pipe)
    yield tiny
    assert calls == []


def by_hand(plain: PlainClip, images: list[Image.Image], texts: list[str]) -> np.ndarray:
    """PickScore of each image with its text, less the temperature: by transformers alone."""
    return (plain.images(images) * plain.texts(texts)).sum(axis=-1)


def as_pictures(images: Tensor) -> list[Image.Image]:
    return [to_pil_image(image) for image in images.clamp(0, 1)]


def optimize(tiny: Tiny, reward: Any, **options: Any) -> Any:
    return optimize_latents(tiny.pipe, None, reward, **{**tiny.arguments, **options})


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pointwise(count: int, exact: Any, plain: PlainClip) -> None:
    images = as_pictures(pixels(count) / 255)
    texts = [TEXTS[place % 2] for place in range(count)]
    rewards, info = PointwiseReward(exact, {"image-text": 2.0})(images, texts)
    expected = by_hand(plain, images, texts)
    np.testing.assert_allclose(rewards, 2 * expected, atol=1e-5)
    np.testing.assert_allclose(info["scores"]["image-text"], expected, atol=1e-5)
    assert "model:pickscore" in info["signatures"]["image-text"]


def test_groupwise(exact: Any, plain: PlainClip) -> None:
    images = as_pictures(pixels(7) / 255)
    texts = [TEXTS[place % 2] for place in range(7)]  # groups of four and of three
    expected = by_hand(plain, images, texts)
    rewards, info = GroupwiseReward(exact)(images, texts)
    np.testing.assert_allclose(info["scores"]["image-text"], expected, atol=1e-5)
    for first in (0, 1):
        group = expected[first::2]
        beaten = (group[:, None] > group).sum(axis=1)
        np.testing.assert_allclose(rewards[first::2], beaten / (len(group) - 1))
    scores, _ = GroupwiseReward(exact, kind="score")(images, texts)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_the_gradient_of_the_reward_is_its_slope(pickscore: Any) -> None:
    pictures = (0.2 + 0.6 * pixels(2) / 255).requires_grad_()
    reward = UniSimReward(TEXTS, model_name_or_path=pickscore)
    (gradient,) = torch.autograd.grad(reward(pictures).sum(), pictures)
    assert bool(gradient.abs().sum(dim=(1, 2, 3)).gt(0).all())
    step = 0.1 * gradient / gradient.norm()
    with torch.no_grad():
        rise = (reward(pictures + step) - reward(pictures - step)).sum()
    assert rise.item() == pytest.approx(0.2 * gradient.norm().item(), rel=0.05)


@pytest.mark.parametrize("name", ["sd", "flux"])
def test_guided_images_have_the_higher_score(name: str, pickscore: Any, plain: PlainClip) -> None:
    tiny = Tiny(name)
    free = as_pictures(tiny())
    reward = UniSimReward(TEXTS, model_name_or_path=pickscore)
    with UniSimGuidanceCallback(tiny.pipe, reward, scale=0.3) as callback:
        guided = as_pictures(tiny(callback))
    assert (by_hand(plain, guided, TEXTS) > by_hand(plain, free, TEXTS)).all()
    assert callback.steps and bool(callback.rewards.isfinite().all())


def test_optimised_latents_have_the_higher_score(pickscore: Any, plain: PlainClip) -> None:
    tiny = Tiny("sd", steps=2)
    result = optimize(tiny, UniSimReward(TEXTS, model_name_or_path=pickscore), steps=2)
    scores = by_hand(plain, as_pictures(result.images), TEXTS)
    np.testing.assert_allclose(scores, result.rewards.amax(dim=0), atol=2e-3)
    assert (scores > result.rewards[0].numpy()).all()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_best_of_n(batch_size: int, exact: Any, plain: PlainClip) -> None:
    tiny = Tiny("sd", steps=2, images=1, output_type="pil")
    result = best_of_n(
        tiny.pipe, None, 4, reference=TEXT, model_name_or_path=exact, batch_size=batch_size, **tiny.arguments
    )
    alone = [tiny.pipe(**tiny.arguments, generator=generator).images[0] for generator in seeds(4)]
    expected = by_hand(plain, alone, [TEXT] * 4)
    assert result.seeds == np.argsort(-expected).tolist()
    np.testing.assert_allclose(result.scores, np.sort(expected)[::-1], atol=1e-4)
    assert np.abs(np.subtract(result.best, alone[expected.argmax()], dtype=float)).max() <= 1


class TestWithoutGradients:
    """Each use is tried with a pipeline whose denoiser must not be called."""

    @pytest.fixture(params=[UniSimGuidanceCallback, optimize], ids=["guidance", "latents"])
    def use(self, request: pytest.FixtureRequest, tiny: Tiny) -> Callable[[Any], None]:
        def use(model: Any) -> None:
            reward = UniSimReward(TEXT, model_name_or_path=model)
            if request.param is optimize:
                optimize(tiny, reward)
            else:
                tiny(UniSimGuidanceCallback(tiny.pipe, reward))

        return use

    def test_images_that_pass_through_pillow(self, use: Callable[[Any], None], exact: Any) -> None:
        with pytest.raises(GradientError, match=r"'pickscore' has no gradient .*\"bicubic\".* `best_of_n`"):
            use(exact)

    def test_a_processor_that_takes_no_tensors(self, use: Callable[[Any], None]) -> None:
        with pytest.raises(GradientError, match=r"'tiny-idefics2' has no gradient .* `best_of_n`") as caught:
            use(tiny_generative.model("idefics2"))
        assert "Idefics2ImageProcessor" in str(caught.value.__cause__)

    def test_a_model_after_demonstrations(self, use: Callable[[Any], None]) -> None:
        shown = tiny_generative.model().with_demonstrations([(TEXT, tiny_generative.pictures(2), 0)])
        with pytest.raises(ValueError, match=r"model 'tiny-llava', which answers it by a choice .* Use `Uni"):
            use(shown)

    def test_a_model_of_another_task(self, use: Callable[[Any], None], lpips: Any) -> None:
        with pytest.raises(
            ValueError, match=r"'lpips-alex' answers, but got 'image-text': `unisim models --task image-text`"
        ):
            use(lpips)


def test_a_model_that_generates_has_scores_of_one_alone() -> None:
    model: Any = tiny_generative.model(mode="generate")
    pictures = (pixels(1) / 255).requires_grad_()
    UniSimReward(TEXT, model_name_or_path=model)(pictures).sum().backward()
    assert pictures.grad is not None and bool((pictures.grad != 0).any())


@pytest.mark.parametrize("make", [PointwiseReward, GroupwiseReward])
def test_rewards_of_a_task_that_the_model_does_not_answer(make: Any, lpips: Any) -> None:
    with pytest.raises(
        ValueError, match=r"Argument `tasks` must be one of .* `unisim models --task image-text`"
    ):
        make(lpips)


def test_best_of_n_of_a_task_that_the_model_does_not_answer(tiny: Tiny, lpips: Any) -> None:
    with pytest.raises(ValueError, match=r"'lpips-alex' answers, .* `unisim models --task image-text`"):
        best_of_n(tiny.pipe, None, reference=TEXT, model_name_or_path=lpips, **tiny.arguments)


def test_a_judge_that_takes_no_small_images(lpips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "smallest", 64)
    pipeline = Tiny("sd", images=1)
    reference = pixels(1, size=64) / 255
    reward = UniSimReward(reference=reference, model_name_or_path=lpips)
    free = pipeline()
    with UniSimGuidanceCallback(pipeline.pipe, reward, scale=0.3) as callback:
        guided = pipeline(callback)
    with torch.no_grad():
        assert reward(guided).item() > reward(free).item()


def test_a_reference_that_is_too_small(tiny: Tiny, lpips: Any) -> None:
    with pytest.raises(ValueError, match=r"`target` must hold images of at least 31 × 31 .* got 30 × 40"):
        optimize(tiny, UniSimReward(reference=torch.zeros(1, 3, 40, 30), model_name_or_path=lpips))
