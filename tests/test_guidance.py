"""`UniSimGuidanceCallback`: its gradients against hand-written ones, what it raises, and what it leaves alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from accelerate import cpu_offload_with_hook
from diffusers.callbacks import MultiPipelineCallbacks
from diffusion import VARIANTS, Tiny, scheduler
from oracle import photos
from test_score_callback import PROMPTS, Generative
from torch import Tensor

from docs.experiments.tiny_pipelines import tiny_preview_vae
from unisim_metrics import load_model
from unisim_metrics.functional import unisim_score
from unisim_metrics.integrations.diffusers import (
    Augmentation,
    UniSimGuidanceCallback,
    UniSimReward,
    UniSimScoreCallback,
)
from unisim_metrics.integrations.diffusers.gradients import Replay
from unisim_metrics.integrations.diffusers.previews import StepRecorder
from unisim_metrics.models import EncoderModel

ALWAYS = {"window": (0.0, 1.0)}


@pytest.fixture(scope="module")
def reward(tiny_model: EncoderModel) -> UniSimReward:
    return UniSimReward("a photo of a dog", model_name_or_path=tiny_model)


def guided(tiny: Tiny, reward: Any, **options: Any) -> Tensor:
    with UniSimGuidanceCallback(tiny.pipe, reward, **options) as callback:
        return tiny(callback)


class TestReward:
    def test_terms_are_the_scores_of_the_metric(self, tiny_model: EncoderModel) -> None:
        pictures = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
        reference = photos(2)
        reward = UniSimReward(
            PROMPTS, reference, alignment=2.0, similarity=0.5, quality=0.25, model_name_or_path=tiny_model
        )
        terms = reward.terms(pictures)
        prompts = [PROMPTS[0], PROMPTS[0], PROMPTS[1], PROMPTS[1]]
        references = [reference[0], reference[0], reference[1], reference[1]]
        expected = {
            "alignment": unisim_score(pictures, prompts, tiny_model, reduction="none"),
            "similarity": unisim_score(pictures, references, tiny_model, reduction="none"),
            "quality": unisim_score(pictures, None, tiny_model, reduction="none"),
        }
        for name, scores in expected.items():
            torch.testing.assert_close(terms[name], scores, atol=1e-6, rtol=0)
        total = 2 * expected["alignment"] + 0.5 * expected["similarity"] + 0.25 * expected["quality"]
        torch.testing.assert_close(reward(pictures), total, atol=1e-6, rtol=0)
        assert list(reward.signatures) == ["alignment", "similarity", "quality"]

    def test_pixels_beyond_black_and_white_keep_their_gradient(self, reward: UniSimReward) -> None:
        pictures = torch.linspace(-0.5, 1.5, 3 * 32 * 32).view(1, 3, 32, 32).requires_grad_()
        rewards = reward(pictures)
        torch.testing.assert_close(rewards, reward(pictures.detach().clamp(0, 1)))
        rewards.sum().backward()
        assert pictures.grad is not None
        beyond = (pictures < 0) | (pictures > 1)
        assert (pictures.grad[beyond] != 0).all()

    def test_wrong_rewards(self, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match="at least one term"):
            UniSimReward(model_name_or_path=tiny_model)
        with pytest.raises(ValueError, match="at least one term"):
            UniSimReward("a cat", alignment=0.0, model_name_or_path=tiny_model)
        with pytest.raises(ValueError, match=r"model 'tiny-llava', which answers it by a choice"):
            UniSimReward("a cat", model_name_or_path=Generative())  # type: ignore[arg-type]

        class Detached(Generative):
            embeds = True

            def embed_images(self, images: Tensor) -> Tensor:
                return torch.ones(len(images), 4)

            def embed_texts(self, texts: Any) -> Tensor:
                return torch.ones(len(texts), 4)

        with pytest.raises(ValueError, match="has no gradient to the pixels"):
            UniSimReward("a cat", model_name_or_path=Detached())  # type: ignore[arg-type]


class TestMove:
    @pytest.mark.parametrize("name", ["sd", "sd3"])
    @pytest.mark.parametrize("through_denoiser", [False, True])
    def test_one_step_by_hand(self, name: str, through_denoiser: bool, reward: UniSimReward) -> None:
        """Autograd through the whole chain at once, the denoiser with classifier-free guidance written out."""
        tiny = Tiny(name, steps=3)
        start = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
        kept: list[Tensor] = []

        def keep(pipe: Any, index: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            kept.append(kwargs["latents"])
            return {}

        tiny(keep, latents=start, guidance_scale=5.0)
        with UniSimGuidanceCallback(
            tiny.pipe, reward, scale=0.3, window=(0.34, 0.67), through_denoiser=through_denoiser
        ) as callback:
            moved: list[Tensor] = []

            def also_keep(*arguments: Any) -> dict[str, Any]:
                result = callback(*arguments)
                moved.append(result["latents"])
                return result

            tiny(also_keep, latents=start, guidance_scale=5.0)
        assert callback.steps == [1]
        assert torch.equal(moved[0], kept[0])

        sample = kept[0].clone().requires_grad_()
        embeds = [tiny.arguments["negative_prompt_embeds"], tiny.arguments["prompt_embeds"]]
        timestep = tiny.pipe.scheduler.timesteps[1]
        if name == "sd":
            without, with_text = (
                tiny.pipe.unet(sample, timestep, encoder_hidden_states=e).sample for e in embeds
            )
            alphas = tiny.pipe.scheduler.alphas_cumprod
            alpha, later = alphas[timestep], alphas[tiny.pipe.scheduler.timesteps[2]].sqrt()
        else:
            pooled = [
                tiny.arguments["negative_pooled_prompt_embeds"], tiny.arguments["pooled_prompt_embeds"]
            ]  # fmt: skip
            without, with_text = (
                tiny.pipe.transformer(
                    sample, timestep=timestep.expand(2), encoder_hidden_states=e, pooled_projections=p
                ).sample
                for e, p in zip(embeds, pooled, strict=True)
            )
            later = 1 - tiny.pipe.scheduler.sigmas[2]
        prediction = without + 5.0 * (with_text - without)
        if not through_denoiser:
            prediction = prediction.detach()
        if name == "sd":
            x0 = (sample - (1 - alpha).sqrt() * prediction) / alpha.sqrt()
        else:
            x0 = sample - tiny.pipe.scheduler.sigmas[1] * prediction
        config = tiny.pipe.vae.config
        decoded = tiny.pipe.vae.decode(x0 / config.scaling_factor + (config.shift_factor or 0.0)).sample
        # The reward's pull on the decoded pixels is brought to unit size for each image before it goes on.
        pictures = (decoded / 2 + 0.5).detach().requires_grad_()
        pull = torch.autograd.grad(reward(pictures).sum(), pictures)[0]
        pull = pull / pull.square().mean((1, 2, 3), keepdim=True).sqrt()
        gradient = torch.autograd.grad(decoded, sample, pull)[0]
        direction = gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        length = 0.3 * x0.square().mean((1, 2, 3), keepdim=True).sqrt()
        expected = kept[1] + later * length * direction
        torch.testing.assert_close(moved[1], expected.detach(), atol=2e-3, rtol=1e-3)
        assert (moved[1] - kept[1]).abs().mean() > 0.02

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            *((name, {}) for name in VARIANTS),
            ("sd", {"guidance_scale": 1.0}),
            ("sd", {"guidance_rescale": 0.7}),
            ("sdxl", {"guidance_scale": 9.0, "guidance_rescale": 0.5}),
            ("sd3", {"skip_guidance_layers": [1], "skip_layer_guidance_stop": 1.0}),
            ("flux", {"true_cfg_scale": 4.0}),
        ],
    )
    def test_a_replayed_step_that_is_not_moved_is_the_step(
        self, name: str, arguments: dict[str, Any]
    ) -> None:
        tiny = Tiny(name)
        if "true_cfg_scale" in arguments:
            generator = torch.Generator().manual_seed(3)
            for key in ("prompt_embeds", "pooled_prompt_embeds"):
                negative = torch.randn(tiny.arguments[key].shape, generator=generator)
                tiny.arguments[f"negative_{key}"] = negative
        replayed = []

        def callback(pipe: Any, index: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
            step = recorder.last
            assert step is not None
            with recorder.deaf():
                x0 = Replay(step, tiny.denoiser).x0(torch.zeros_like(step.sample))
                further = Replay(step, tiny.denoiser).x0(torch.full_like(step.sample, 0.1))
            replayed.append((x0, step.x0()))
            assert (further - x0).abs().max() > 1e-3
            return {}

        with StepRecorder(tiny.pipe, keep_calls=True) as recorder:
            tiny(callback, **arguments)
        assert replayed
        for x0, expected in replayed:
            torch.testing.assert_close(x0, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)

    def test_images_do_not_depend_on_their_neighbours(self, reward: UniSimReward) -> None:
        options = {"augmentation": Augmentation(views=2), "scale": 0.3, "inner_steps": 2}
        three, alone = Tiny("sd3", images=3), Tiny("sd3", images=1)
        together = guided(three, reward, **options)
        embeddings = {name: value for name, value in three.arguments.items() if isinstance(value, Tensor)}
        for index in range(3):
            one = {name: value[index : index + 1] for name, value in embeddings.items()}
            with UniSimGuidanceCallback(alone.pipe, reward, **options) as callback:  # type: ignore[arg-type]
                image = alone(callback, seed=index, **one)
            torch.testing.assert_close(image[0], together[index], atol=2e-3, rtol=0)

    def test_the_weight_of_a_single_term_does_not_matter(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("flux")
        one, many = (
            guided(tiny, UniSimReward("a dog", alignment=weight, model_name_or_path=tiny_model))
            for weight in (1.0, 1000.0)
        )
        torch.testing.assert_close(one, many, atol=1e-3, rtol=0)

    def test_checkpointing_changes_nothing_but_memory(self, reward: UniSimReward) -> None:
        for through_denoiser in (False, True):
            tiny = Tiny("sd", steps=3)
            kept = guided(tiny, reward, through_denoiser=through_denoiser)
            before = tiny.state()
            again = guided(tiny, reward, through_denoiser=through_denoiser, checkpointing=True)
            torch.testing.assert_close(again, kept, atol=1e-3, rtol=0)
            assert tiny.state() == before

    def test_views(self) -> None:
        pictures = torch.rand(3, 3, 20, 30, requires_grad=True)
        augmentation = Augmentation(views=5, crop=0.5, noise=0.0)
        views = list(augmentation(pictures, 7))
        assert len(views) == 5
        assert len({view.shape for view in views}) > 1
        for view in views:
            assert 10 <= view.shape[2] <= 20
            assert 15 <= view.shape[3] <= 30
            windows = pictures.unfold(2, view.shape[2], 1).unfold(3, view.shape[3], 1)
            same = ((windows == view[:, :, None, None]) | (windows == view.flip(-1)[:, :, None, None])).all(
                -1
            )
            assert same.all(-1).all(1).flatten(1).any(1).all()
        again = list(augmentation(pictures, 7))
        assert all(torch.equal(view, other) for view, other in zip(views, again, strict=True))
        other = list(augmentation(pictures, 8))
        assert any(view.shape != third.shape for view, third in zip(views, other, strict=True))
        noisy = next(Augmentation(views=1, crop=1.0, flip=False, noise=0.3)(pictures, 0)) - pictures
        assert float(noisy.std()) == pytest.approx(0.3, rel=0.1)
        torch.testing.assert_close(noisy[0], noisy[1])


class TestGuidance:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_the_reward_rises(self, name: str, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name, steps=6, images=4)
        reward = UniSimReward("a photo of a dog", model_name_or_path=tiny_model)
        images = tiny()
        before = tiny.state()
        for options in ({}, {"through_denoiser": True, "inner_steps": 2}):
            more = guided(tiny, reward, scale=0.3, **options)  # type: ignore[arg-type]
            assert tiny.state() == before
            assert (reward(more) > reward(images)).all()
        assert torch.equal(tiny(), images)

    @pytest.mark.parametrize(
        ("name", "config"),
        [
            ("DDIMScheduler", {"clip_sample": False}),
            ("DDPMScheduler", {"clip_sample": False}),
            ("PNDMScheduler", {}),
            ("PNDMScheduler", {"skip_prk_steps": True}),
            ("LCMScheduler", {}),
            ("EulerDiscreteScheduler", {}),
            ("EulerAncestralDiscreteScheduler", {}),
            ("HeunDiscreteScheduler", {}),
            ("DPMSolverMultistepScheduler", {}),
            ("UniPCMultistepScheduler", {}),
        ],
    )
    def test_with_every_scheduler(self, name: str, config: dict[str, Any], reward: UniSimReward) -> None:
        tiny = Tiny("sd", steps=6)
        tiny.pipe.scheduler = scheduler(name, **config)
        images = tiny()
        assert (reward(guided(tiny, reward, scale=0.3)) > reward(images)).all()
        assert torch.equal(tiny(), images)

    def test_stages_that_a_scheduler_keeps_to_itself_are_left_out(self, reward: UniSimReward) -> None:
        tiny = Tiny("sd", steps=4)
        tiny.pipe.scheduler = scheduler("HeunDiscreteScheduler")
        with UniSimGuidanceCallback(tiny.pipe, reward, window=(0.0, 1.0)) as callback:
            tiny(callback)
        assert callback.steps == [1, 3, 5, 6]  # of 2 · 4 − 1, the last of which is a single stage

    @pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "sd-img2img", "flux-inpaint"])
    def test_without_scale_nothing_changes_to_the_bit(self, name: str, reward: UniSimReward) -> None:
        tiny = Tiny(name)
        images = tiny()
        assert torch.equal(guided(tiny, reward, scale=0.0), images)
        nothing = {"schedule": lambda progress: 0.0, "augmentation": Augmentation()}
        with UniSimGuidanceCallback(tiny.pipe, reward, **nothing) as callback:  # type: ignore[arg-type]
            assert torch.equal(tiny(callback), images)
        assert callback.steps == []
        assert callback.rewards.numel() == 0

    @pytest.mark.parametrize("name", ["sd-inpaint", "flux-inpaint"])
    def test_what_inpainting_keeps_is_left_alone(self, name: str, reward: UniSimReward) -> None:
        tiny = Tiny(name)
        latents = tiny(output_type="latent")
        with UniSimGuidanceCallback(tiny.pipe, reward, scale=0.5, window=(0.0, 1.0)) as callback:
            moved = tiny(callback, output_type="latent")
        rows = 2 if latents.ndim == 4 else 1  # of the latents, or of the sequence of patches, row by row
        kept, painted = zip(*(made.chunk(2, dim=rows) for made in (latents, moved)), strict=True)
        assert torch.equal(*kept)
        assert (painted[0] - painted[1]).abs().mean() > 0.01
        assert callback.steps == [0, 1, 2, 3]

    def test_two_guides_of_inpainting_move_by_both(self, reward: UniSimReward) -> None:
        tiny = Tiny("sd-inpaint", steps=1)
        moved = []
        for scales in ((), (0.3,), (0.3, 0.2)):
            guides = [UniSimGuidanceCallback(tiny.pipe, reward, scale=scale, **ALWAYS) for scale in scales]
            with ExitStack() as entered:
                for guide in guides:
                    entered.enter_context(guide)
                moved.append(tiny(MultiPipelineCallbacks(guides), output_type="latent"))
        first, both = moved[1] - moved[0], moved[2] - moved[0]
        assert not first.chunk(2, dim=2)[0].any()
        # Both see the image before any move, so that the moves are those of one reward in two parts.
        torch.testing.assert_close(both, first * 5 / 3, atol=1e-5, rtol=1e-4)

    def test_inpainting_after_a_foreign_callback_is_refused(self, reward: UniSimReward) -> None:
        tiny = Tiny("sd-inpaint")
        guide = UniSimGuidanceCallback(tiny.pipe, reward, **ALWAYS)

        def moved_first(pipe: Any, index: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Any]:
            return guide(pipe, index, timestep, {**tensors, "latents": tensors["latents"] + 1})

        with (
            pytest.raises(ValueError, match=r"another library moved the latents first\. Call that one last"),
            guide,
        ):
            tiny(moved_first)

    @pytest.mark.parametrize("name", ["sd", "flux"])
    def test_together_with_scores(self, name: str, reward: UniSimReward, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name, steps=6)
        guide = UniSimGuidanceCallback(tiny.pipe, reward, scale=0.3)
        score = UniSimScoreCallback(tiny.pipe, "a photo of a dog", model_name_or_path=tiny_model)
        with guide, score:
            images = tiny(MultiPipelineCallbacks([guide, score]))
        torch.testing.assert_close(score.scores[-1], reward(images), atol=2e-5, rtol=0)
        # Both see the preview of the same step, before it is moved.
        torch.testing.assert_close(guide.rewards, score.scores[guide.steps], atol=1e-5, rtol=0)

    @pytest.mark.parametrize("name", ["sd", "sd-inpaint", "sd-inpaint-9", "flux-inpaint"])
    def test_scores_are_of_what_was_before_the_move(
        self, name: str, reward: UniSimReward, tiny_model: EncoderModel
    ) -> None:
        """In the last step, too, and whichever comes first: only what inpainting pastes is no prediction there."""
        tiny = Tiny(name)
        scores = []
        for first in ("guide", "score"):
            guide = UniSimGuidanceCallback(tiny.pipe, reward, scale=0.5, **ALWAYS)
            score = UniSimScoreCallback(tiny.pipe, "a photo of a dog", model_name_or_path=tiny_model)
            with guide, score:
                images = tiny(MultiPipelineCallbacks([guide, score] if first == "guide" else [score, guide]))
            assert guide.steps == score.steps == [0, 1, 2, 3]
            scores.append(score.scores)
            assert (scores[-1][-1] - reward(images)).abs().max() > 1e-4
        assert torch.equal(*scores)

    def test_window_and_schedule(self, reward: UniSimReward) -> None:
        pipe = Tiny("sd").pipe
        callback = UniSimGuidanceCallback(pipe, reward, scale=2.0, window=(0.5, 0.95), schedule="linear")
        assert [callback.scale_at(step, 20) for step in (9, 10, 19)] == [0.0, 2.0, 0.0]
        assert callback.scale_at(18, 20) == pytest.approx(2 / 9)
        assert callback.scale_at(0, 1) == 2.0  # a single step is guided all the same
        callback = UniSimGuidanceCallback(pipe, reward, window=(0.0, 1.0), schedule="cosine")
        assert callback.scale_at(2, 4) == pytest.approx(0.05)
        callback = UniSimGuidanceCallback(pipe, reward, window=(0.0, 1.0), schedule=lambda share: share)
        assert callback.scale_at(3, 4) == pytest.approx(0.075)

    def test_another_autoencoder(self, reward: UniSimReward) -> None:
        tiny, vae = Tiny("flux"), tiny_preview_vae()
        with UniSimGuidanceCallback(tiny.pipe, reward, vae=vae) as callback:
            assert not torch.equal(tiny(callback), tiny())
        assert all(weight.requires_grad and weight.grad is None for weight in vae.parameters())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("name", ["sd", "sdxl", "flux"])
    @pytest.mark.parametrize("through_denoiser", [False, True])
    def test_half_precision(
        self, name: str, dtype: torch.dtype, through_denoiser: bool, reward: UniSimReward
    ) -> None:
        tiny = Tiny(name, steps=3)
        tiny.pipe.to(dtype=dtype)
        half = {key: value.to(dtype) for key, value in tiny.arguments.items() if isinstance(value, Tensor)}
        images = tiny(**half)
        with UniSimGuidanceCallback(
            tiny.pipe, reward, scale=0.4, through_denoiser=through_denoiser, window=(0.0, 1.0)
        ) as callback:
            more = tiny(callback, **half)
        assert more.dtype == images.dtype
        assert tiny.pipe.vae.dtype == dtype
        assert (reward(more) > reward(images)).all()

    def test_under_inference_mode(self, reward: UniSimReward) -> None:
        for through_denoiser in (False, True):
            tiny = Tiny("sd", steps=3)
            expected = guided(tiny, reward, through_denoiser=through_denoiser)
            with torch.inference_mode():
                images = guided(tiny, reward, through_denoiser=through_denoiser)
            torch.testing.assert_close(images, expected, atol=1e-4, rtol=0)

    def test_offloaded_models(self, reward: UniSimReward) -> None:
        tiny = Tiny("sd", steps=3)
        expected = guided(tiny, reward, through_denoiser=True)
        _, hook = cpu_offload_with_hook(tiny.pipe.unet, torch.device("cpu"))
        cpu_offload_with_hook(tiny.pipe.vae, torch.device("cpu"), prev_module_hook=hook)
        torch.testing.assert_close(guided(tiny, reward, through_denoiser=True), expected)

    def test_an_exception_leaves_nothing_behind(self, tiny_model: EncoderModel) -> None:
        class Failing(UniSimReward):
            def __call__(self, pictures: Tensor) -> Tensor:
                raise RuntimeError("out of memory")

        tiny = Tiny("sdxl")
        tiny()
        tiny.pipe.vae.half()
        before = tiny.state()
        reward = Failing("a cat", model_name_or_path=tiny_model)
        with pytest.raises(RuntimeError, match="out of memory"):
            guided(tiny, reward, through_denoiser=True, checkpointing=True)
        after = tiny.state()
        versions = [
            {key: value[:3] for key, value in state.pop("weights").items()} for state in (before, after)
        ]
        assert versions[0] == versions[1]
        assert after == before

    def test_the_bundled_model(self) -> None:
        tiny = Tiny("flux", steps=3)
        images = tiny()
        model = load_model()
        more = guided(tiny, "a bright photo", scale=0.3)
        scores = [
            unisim_score(part, ["a bright photo"] * 2, model, reduction="none") for part in (images, more)
        ]
        assert (scores[1] > scores[0]).all()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"window": (0.8, 0.2)}, "`window` must be two rising shares"),
            ({"window": (0.0, 1.5)}, "`window` must be two rising shares"),
            ({"schedule": "steep"}, r"`schedule` must be one of \('constant', 'linear', 'cosine'\)"),
            ({"inner_steps": 0}, "`inner_steps` must be at least 1"),
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, Any], message: str, reward: UniSimReward) -> None:
        with pytest.raises(ValueError, match=message):
            UniSimGuidanceCallback(Tiny("sd").pipe, reward, **arguments)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"views": 0}, "`views` must be at least 1"),
            ({"crop": 0.0}, "`crop` must be above 0"),
            ({"noise": -1.0}, "`noise` must be at least 0"),
        ],
    )
    def test_wrong_views(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Augmentation(**arguments)

    def test_a_batch_that_does_not_fit(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("flux")
        reward = UniSimReward(["a", "b", "c"], model_name_or_path=tiny_model)
        with pytest.raises(ValueError, match="has 3 for a batch of 2 images"):
            guided(tiny, reward)

    def test_a_prediction_that_is_no_sum_of_outputs(self, reward: UniSimReward) -> None:
        tiny = Tiny("sd")

        def sample_bent(through_denoiser: bool) -> Tensor:
            with UniSimGuidanceCallback(tiny.pipe, reward, through_denoiser=through_denoiser) as callback:
                step = tiny.pipe.scheduler.step

                def bent(
                    model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
                ) -> Any:
                    return step(model_output + sample.square(), timestep, sample, return_dict=return_dict)

                tiny.pipe.scheduler.step = bent
                return tiny(callback)

        assert sample_bent(through_denoiser=False).shape == (2, 3, 64, 64)
        with pytest.raises(ValueError, match="`through_denoiser` must be False for this pipeline"):
            sample_bent(through_denoiser=True)
