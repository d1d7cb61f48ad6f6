"""Initial latents moved along the gradient of a reward through the whole of sampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comparing import OnlyCompares
from diffusers import DDPMPipeline, UNet2DModel
from diffusion import Tiny, scheduler, steps_taken
from torch import Tensor

from docs.experiments.tiny_pipelines import tiny_preview_vae
from unisim_metrics.integrations.diffusers import Augmentation, UniSimReward, optimize_latents
from unisim_metrics.integrations.diffusers.latents import LatentDecoder
from unisim_metrics.models import EncoderModel

TEXT = "a photo of a dog"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dog(model: EncoderModel) -> UniSimReward:
    return UniSimReward(TEXT, model_name_or_path=model)


def redness(pictures: Tensor) -> Tensor:
    """A reward without a model, smooth in every pixel."""
    return (pictures[:, 0].tanh() - pictures[:, 1].tanh()).mean(dim=(1, 2))


def optimize(tiny: Tiny, reward: Any, steps: int = 3, **arguments: Any) -> Any:
    return optimize_latents(tiny.pipe, None, reward, steps, **{**tiny.arguments, **arguments})


class TestOptimization:
    @pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux"])
    def test_the_reward_rises_from_that_of_the_seed(self, name: str, tiny_model: EncoderModel) -> None:
        tiny, reward = Tiny(name, steps=2, images=1), dog(tiny_model)
        plain = tiny.pipe(**tiny.arguments, generator=seeded(3)).images
        before = tiny.state()
        result = optimize(tiny, reward, seed=3)
        assert tiny.state() == before
        assert result.rewards.shape == (4, 1)
        torch.testing.assert_close(result.rewards[0], reward(plain), atol=1e-4, rtol=0)
        assert result.rewards.max() > result.rewards[0] + 1e-3
        torch.testing.assert_close(reward(result.images), result.rewards.amax(dim=0), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("name", ["sd", "sd3", "flux"])
    def test_the_images_can_be_made_again_from_the_latents(self, name: str, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name, steps=2, images=1)
        result = optimize(tiny, dog(tiny_model), steps=1)
        assert torch.equal(tiny.pipe(**tiny.arguments, latents=result.latents).images, result.images)

    def test_a_scheduler_that_adds_noise(self, tiny_model: EncoderModel) -> None:
        tiny, reward = Tiny("sd", steps=3, images=1), dog(tiny_model)
        tiny.pipe.scheduler = scheduler("EulerAncestralDiscreteScheduler")
        plain = tiny.pipe(**tiny.arguments, generator=seeded(3)).images
        result = optimize(tiny, reward, seed=3)
        torch.testing.assert_close(result.rewards[0], reward(plain), atol=1e-4, rtol=0)
        assert result.rewards.max() > result.rewards[0] + 1e-3
        again = tiny.pipe(**tiny.arguments, latents=result.latents, generator=result.generator()).images
        assert torch.equal(again, result.images)

    @pytest.mark.parametrize("name", ["sd", "flux"])
    def test_the_direction_is_that_of_the_steepest_ascent(self, name: str) -> None:
        tiny = Tiny(name, steps=2, images=1)
        start = optimize(tiny, redness, steps=1, learning_rate=1e-12).latents
        moved = optimize(tiny, redness, steps=1, learning_rate=1e-3).latents
        direction = (moved - start) / (moved - start).norm()

        def slope(along: Tensor) -> float:
            """Of the reward of the pipeline's own pictures, by differences."""
            rewards = []
            for step in (-0.05, 0.05):
                final = tiny.pipe(
                    **{**tiny.arguments, "output_type": "latent"}, latents=start + step * along
                ).images
                with torch.no_grad():
                    rewards.append(float(redness(LatentDecoder(tiny.pipe).decode(final, (64, 64)))))
            return (rewards[1] - rewards[0]) / 0.1

        steepest = slope(direction)
        assert steepest > 0
        generator = seeded(5)
        for _ in range(3):
            other = torch.randn(start.shape, generator=generator)
            other -= (other * start).sum() / start.square().sum() * start  # along the sphere of equal norm
            other /= other.norm()
            # Of a gradient g, the slope along a unit vector u is u · g, and that of g itself its length.
            mixed = (direction + other) / (direction + other).norm()
            assert slope(mixed) == pytest.approx(float((mixed * direction).sum()) * steepest, rel=0.1)

    def test_latents_keep_their_norm(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=2, images=2)
        start = torch.randn(2, 4, 16, 16, generator=seeded(1)) * torch.tensor([1.0, 1.1]).view(2, 1, 1, 1)
        result = optimize(tiny, dog(tiny_model), latents=start, learning_rate=0.3)
        assert not torch.equal(result.latents, start)
        norms = result.latents.flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, start.flatten(1).norm(dim=1), rtol=1e-5, atol=0)

    def test_images_do_not_depend_on_their_neighbours(self, tiny_model: EncoderModel) -> None:
        tiny, reward = Tiny("sd3", steps=2, images=2), dog(tiny_model)
        start = torch.randn(2, 4, 16, 16, generator=seeded(1))
        both = optimize(tiny, reward, steps=2, latents=start)
        for place in range(2):
            alone = {
                name: value[place : place + 1] if isinstance(value, Tensor) else value
                for name, value in tiny.arguments.items()
            }
            result = optimize_latents(tiny.pipe, None, reward, 2, latents=start[place : place + 1], **alone)
            torch.testing.assert_close(result.rewards[:, 0], both.rewards[:, place], atol=1e-4, rtol=0)

    def test_each_image_keeps_its_best(self) -> None:
        def waves(pictures: Tensor) -> Tensor:
            return (200 * redness(pictures)).sin()

        tiny = Tiny("sd", steps=2, images=2)
        result = optimize(tiny, waves, steps=4, learning_rate=1.0)
        assert (result.rewards.diff(dim=0) > 0).any()
        assert (result.rewards[-1] < result.rewards.amax(dim=0)).any()
        assert result.best_steps == result.rewards.argmax(dim=0).tolist()
        final = tiny.pipe(**{**tiny.arguments, "output_type": "latent"}, latents=result.latents).images
        with torch.no_grad():
            rewards = waves(LatentDecoder(tiny.pipe).decode(final))
        torch.testing.assert_close(rewards, result.rewards.amax(dim=0), atol=1e-3, rtol=0)

    def test_several_images_of_a_prompt(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=2, images=1)
        result = optimize(tiny, dog(tiny_model), steps=1, num_images_per_prompt=2)
        assert result.rewards.shape == (2, 2)
        assert result.images.shape == (2, 3, 64, 64)


class TestMemory:
    def test_checkpointing_saves_memory_and_changes_nothing(self, tiny_model: EncoderModel) -> None:
        tiny, reward = Tiny("sd", steps=4, images=1), dog(tiny_model)
        kept: dict[bool, int] = {}
        results: dict[bool, Any] = {}
        for checkpointing in (True, False):
            sizes: list[int] = []

            def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
                sizes.append(tensor.numel() * tensor.element_size())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                results[checkpointing] = optimize(tiny, reward, steps=1, checkpointing=checkpointing)
            kept[checkpointing] = sum(sizes)
        assert kept[True] < kept[False] / 2
        torch.testing.assert_close(results[True].rewards, results[False].rewards, atol=1e-5, rtol=0)

    def test_a_tiny_autoencoder_for_the_gradient(self) -> None:
        tiny = Tiny("sd", steps=2, images=1)
        calls: list[int] = []
        tiny.pipe.vae.decoder.register_forward_hook(lambda *arguments: calls.append(1))
        result = optimize(tiny, redness, steps=2, vae=tiny_preview_vae())
        assert len(calls) == 1  # for the images
        assert result.rewards.max() > result.rewards[0]

    def test_bfloat16(self) -> None:
        tiny = Tiny("sd", steps=1, images=1)
        tiny.pipe.to(torch.bfloat16)
        tiny.arguments = {
            name: value.bfloat16() if isinstance(value, Tensor) else value
            for name, value in tiny.arguments.items()
        }
        result = optimize(tiny, redness, steps=2, learning_rate=0.1)
        assert result.latents.dtype == torch.bfloat16
        assert result.rewards.max() > result.rewards[0]

    def test_offloaded_models(self) -> None:
        """Offloading sets the models' `forward` anew at the end of every call."""
        tiny = Tiny("sd", steps=2, images=1)
        expected = optimize(tiny, redness, steps=2)
        tiny.pipe.enable_model_cpu_offload(device="cpu")
        recomputed: list[int] = []
        tiny.denoiser.conv_in.register_forward_hook(lambda *arguments: recomputed.append(1))
        result = optimize(tiny, redness, steps=2)
        # Three calls of two steps and the one for the images; two of them go backward.
        assert len(recomputed) == 2 * (3 + 1 + 2)
        torch.testing.assert_close(result.rewards, expected.rewards)
        tiny.pipe.remove_all_hooks()
        assert torch.equal(tiny.pipe(**tiny.arguments, latents=result.latents).images, result.images)

    def test_under_inference_mode(self, tiny_model: EncoderModel) -> None:
        tiny, reward = Tiny("sd3", steps=2, images=1), dog(tiny_model)
        outside = optimize(tiny, reward, steps=1)
        with torch.inference_mode():
            arguments = {
                name: value.clone() if isinstance(value, Tensor) else value
                for name, value in tiny.arguments.items()
            }
            inside = optimize_latents(tiny.pipe, None, reward, 1, **arguments)
        torch.testing.assert_close(inside.rewards, outside.rewards)


class TestRewards:
    def test_texts_stand_for_their_alignment(self) -> None:
        tiny = Tiny("sd", steps=1, images=2)
        texts = ["a cat", "a dog"]
        result = optimize(tiny, texts, steps=1)
        plain = tiny(generator=seeded(0))
        torch.testing.assert_close(result.rewards[0], UniSimReward(texts)(plain), atol=1e-3, rtol=0)

    def test_augmentation(self, tiny_model: EncoderModel) -> None:
        tiny, reward = Tiny("sd", steps=2, images=1), dog(tiny_model)
        views = optimize(tiny, reward, augmentation=Augmentation(views=2))
        alone = optimize(tiny, reward)
        # Rewards are those of the pictures themselves; only the way differs.
        torch.testing.assert_close(views.rewards[0], alone.rewards[0])
        assert not torch.equal(views.rewards[1], alone.rewards[1])
        assert views.rewards.max() > views.rewards[0]

    def test_the_pipeline_is_left_as_it_was_after_an_error(self) -> None:
        def failing(pictures: Tensor) -> Tensor:
            raise RuntimeError("out of memory")

        tiny = Tiny("flux", images=1)
        image = tiny()
        before = tiny.state()
        with pytest.raises(RuntimeError, match="out of memory"):
            optimize(tiny, failing)
        assert tiny.state() == before
        assert "forward" not in vars(tiny.denoiser)
        assert torch.equal(tiny(), image)


class Chooser(OnlyCompares):
    """A model that, like a generative one, embeds nothing."""

    def compare(self, references: Any, alternatives: Any, *settings: Any) -> Tensor:
        return torch.zeros(len(alternatives), 2)


class TestWrongUse:
    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("sd", {"steps": 0}, "`steps` must be an integer of at least 1, but got 0"),
            ("sd", {"learning_rate": 0.0}, r"`learning_rate` must be above 0, but got 0\.0"),
            ("sd", {"momentum": 1.0}, r"`momentum` must be between 0 and 1, but got 1\.0"),
            ("sd", {"generator": seeded(0)}, "`generator` must not be given: pass `seed`"),
            ("sd", {"return_dict": False}, "`return_dict` must not be given"),
            (
                "sd",
                {"latents": torch.zeros(1, 4, 8, 8)},
                r"`latents` must have the shape .* \(1, 4, 16, 16\)",
            ),
            ("sd", {"vae": torch.nn.Identity()}, "`vae` must be an autoencoder of images"),
            ("sd", {"reward": ["a", "b"]}, "one entry for each prompt of the pipeline"),
            ("sd-img2img", {}, "takes `latents`, but StableDiffusionImg2ImgPipeline does not"),
        ],
    )
    def test_is_refused_before_the_first_step(
        self, name: str, arguments: dict[str, Any], message: str
    ) -> None:
        tiny = Tiny(name, images=1)
        calls = steps_taken(tiny.pipe)
        with pytest.raises(ValueError, match=message):
            optimize(tiny, **{"reward": redness, **arguments})
        assert calls == []

    def test_a_model_without_a_gradient(self) -> None:
        tiny = Tiny("sd", images=1)
        calls = steps_taken(tiny.pipe)
        with pytest.raises(ValueError, match=r"model 'chooser', which answers it by a choice"):
            optimize(tiny, UniSimReward(TEXT, model_name_or_path=Chooser()))  # type: ignore[arg-type]
        assert calls == []

    @pytest.mark.parametrize(
        ("reward", "message"),
        [
            (lambda pictures: torch.ones(len(pictures)), "`reward` must have a gradient to the pictures"),
            (lambda pictures: pictures.mean(), r"one value a picture, shape \(1,\), but got \(\)"),
            (
                lambda pictures: pictures.mean(dim=(1, 2, 3)) * torch.nan,
                "gradient of the reward is not finite",
            ),
        ],
    )
    def test_rewards_that_lead_nowhere(self, reward: Any, message: str) -> None:
        tiny = Tiny("sd", steps=1, images=1)
        with pytest.raises(ValueError, match=message):
            optimize(tiny, reward)

    def test_a_pipeline_without_an_autoencoder(self) -> None:
        tiny = Tiny("sd", images=1)
        tiny.pipe.vae = None
        with pytest.raises(ValueError, match=r"must have an autoencoder \(`pipe\.vae`\)"):
            optimize(tiny, redness)

    def test_a_pipeline_in_pixels(self) -> None:
        unet = UNet2DModel(
            sample_size=16,
            block_out_channels=(32,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
        )
        pipe = DDPMPipeline(unet, scheduler("DDPMScheduler"))
        with pytest.raises(ValueError, match="takes `latents`, but DDPMPipeline does not"):
            optimize_latents(pipe, None, redness)

    def test_no_pipeline(self) -> None:
        with pytest.raises(TypeError, match=r"`pipe` must be a `DiffusionPipeline`, but got builtins\.str"):
            optimize_latents("sd", TEXT, redness)  # type: ignore[arg-type]
