"""`UniSimScoreCallback`: scores, early exit, the ways it is called, and what it refuses before the first step."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import diffusers
import matplotlib
import numpy as np
import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from comparing import OnlyCompares
from conftest import write_tokenizer
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusion import VARIANTS, Tiny, scheduler, steps_taken
from oracle import OneByOne, PlainClip, count_letters, photos
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

from docs.experiments.tiny_pipelines import tiny_preview_vae
from unisim_metrics import UniSimScore, load_model
from unisim_metrics.functional import unisim_score
from unisim_metrics.images import Preprocessing
from unisim_metrics.integrations.diffusers import EarlyExit, UniSimScoreCallback
from unisim_metrics.models import EncoderModel

PROMPTS = ["a red dog", "a photo of a cat"]


def pil(images: Tensor) -> list[Image.Image]:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image) for image in pixels]


class Generative(OnlyCompares):
    """A model that answers by the letters of options, as LLaVA does: it embeds nothing."""

    name = "tiny-llava"
    input_tag = "32-bicubic"

    def compare(self, references: Any, alternatives: Any, **options: Any) -> Tensor:
        return torch.zeros(1, 2)


class TestScores:
    @pytest.mark.parametrize("name", VARIANTS)
    def test_images_stay_the_same_to_the_bit_and_nothing_is_left_behind(
        self, name: str, tiny_model: EncoderModel
    ) -> None:
        tiny = Tiny(name)
        images, before = tiny(), tiny.state()
        with UniSimScoreCallback(tiny.pipe, PROMPTS, model_name_or_path=tiny_model) as callback:
            assert torch.equal(tiny(callback), images)
        assert tiny.state() == before
        assert callback.steps == list(range(tiny.pipe.num_timesteps))
        assert callback.scores.shape == (len(callback.steps), 2)
        expected = unisim_score(images, PROMPTS, tiny_model, reduction="none")
        torch.testing.assert_close(callback.scores[-1], expected, atol=2e-5, rtol=0)

    def test_against_transformers_by_hand(self, tiny_model: EncoderModel, plain: PlainClip) -> None:
        tiny = Tiny("sd", steps=3)
        with UniSimScoreCallback(
            tiny.pipe, PROMPTS, model_name_or_path=tiny_model, keep_previews=True
        ) as callback:
            images = tiny(callback)
        assert [len(pictures) for pictures in callback.previews] == [2, 2, 2]
        expected = [(plain.images(pictures) * plain.texts(PROMPTS)).sum(1) for pictures in callback.previews]
        # Previews are rounded to eight bits, scores are not.
        np.testing.assert_allclose(callback.scores.numpy(), np.stack(expected), atol=2e-3)
        for picture, image in zip(callback.previews[-1], images, strict=True):
            difference = np.asarray(picture).astype(int) - np.asarray(pil(image[None])[0]).astype(int)
            assert np.abs(difference).max() <= 1

    @pytest.mark.parametrize("task", ["quality", "brightness", "image-image"])
    def test_tasks(self, task: Any, tiny_model: EncoderModel) -> None:
        tiny = Tiny("flux", steps=2)
        target = photos(1) if task == "image-image" else None
        named = None if task in ("quality", "image-image") else task
        with UniSimScoreCallback(tiny.pipe, target, task=named, model_name_or_path=tiny_model) as callback:
            images = tiny(callback)
        metric = UniSimScore(tiny_model, task=task, reduction="none")
        expected = metric(images, target * 2) if target else metric(images)
        torch.testing.assert_close(callback.scores[-1], expected, atol=2e-5, rtol=0)
        assert callback.signature == metric.signature

    def test_scores_do_not_depend_on_the_neighbours_in_the_batch(self, exact: EncoderModel) -> None:
        three = Tiny("sd3", images=3)
        with UniSimScoreCallback(three.pipe, "a cat", model_name_or_path=exact) as callback:
            three(callback)
        together = callback.scores
        alone = Tiny("sd3", images=1)
        embeddings = {name: value for name, value in three.arguments.items() if isinstance(value, Tensor)}
        for index in range(3):
            one = {name: value[index : index + 1] for name, value in embeddings.items()}
            with UniSimScoreCallback(alone.pipe, "a cat", model_name_or_path=exact) as callback:
                alone(callback, seed=index, **one)
            torch.testing.assert_close(callback.scores[:, 0], together[:, index], atol=1e-5, rtol=0)

    def test_several_images_a_prompt(self, tiny_model: EncoderModel, tmp_path: Path) -> None:
        """Prompts through a real tokenizer and text encoder, with negative ones."""
        tiny = Tiny("sd", steps=2)
        size = write_tokenizer(tmp_path)
        config = CLIPTextConfig(
            vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1,
        )  # fmt: skip
        tiny.pipe.register_modules(
            tokenizer=AutoTokenizer.from_pretrained(tmp_path), text_encoder=CLIPTextModel(config)
        )
        with UniSimScoreCallback(tiny.pipe, PROMPTS, model_name_or_path=tiny_model) as callback:
            images = tiny.pipe(
                PROMPTS,
                negative_prompt=["dark", "low quality"],
                num_images_per_prompt=3,
                num_inference_steps=2,
                output_type="pt",
                callback_on_step_end=callback,
            ).images
        assert len(images) == 6
        each = [prompt for prompt in PROMPTS for _ in range(3)]
        expected = unisim_score(images, each, tiny_model, reduction="none")
        torch.testing.assert_close(callback.scores[-1], expected, atol=2e-5, rtol=0)

    def test_prompts_are_embedded_once(self) -> None:
        class Counting(OneByOne):
            texts = 0

            def encode_text(self, counts: Tensor) -> Tensor:
                self.texts += len(counts)
                return super().encode_text(counts)

        module = Counting()
        model = load_model(module, tokenizer=count_letters, preprocessing=Preprocessing(size=8))
        tiny = Tiny("flux", images=4)
        with UniSimScoreCallback(tiny.pipe, PROMPTS, model_name_or_path=model) as callback:
            tiny(callback)
        assert module.texts == 2
        assert module.calls == len(callback.steps) == 4

    def test_chosen_steps(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd", steps=5)
        with UniSimScoreCallback(
            tiny.pipe, "a cat", model_name_or_path=tiny_model, steps=[1, -1]
        ) as callback:
            tiny(callback)
            assert callback.steps == [1, 4]
            assert callback.timesteps == [601.0, 1.0]
            tiny(callback, num_inference_steps=3)  # a second run starts anew
            assert callback.steps == [1, 2]
        assert callback.scores.shape == (2, 2)

    def test_another_autoencoder(self, tiny_model: EncoderModel) -> None:
        tiny, vae = Tiny("sd3"), tiny_preview_vae()
        images = tiny()
        with UniSimScoreCallback(
            tiny.pipe, "a cat", model_name_or_path=tiny_model, vae=vae, steps=[-1]
        ) as callback:
            assert torch.equal(tiny(callback), images)
        latents = tiny(output_type="latent")
        pictures = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).detach()
        expected = unisim_score(pictures, ["a cat"] * 2, tiny_model, reduction="none")
        torch.testing.assert_close(callback.scores[-1], expected, atol=2e-5, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("name", ["sd", "flux"])
    def test_half_precision(self, name: str, dtype: torch.dtype, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name, steps=2)
        tiny.pipe.to(dtype=dtype)
        arguments = {
            key: value.to(dtype) for key, value in tiny.arguments.items() if isinstance(value, Tensor)
        }
        images = tiny(**arguments)
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            assert torch.equal(tiny(callback, **arguments), images)
        assert callback.scores.dtype == torch.float32
        expected = unisim_score(images, ["a cat"] * 2, tiny_model, reduction="none")
        torch.testing.assert_close(callback.scores[-1], expected, atol=2e-2, rtol=0)

    def test_plot(self, tiny_model: EncoderModel) -> None:
        matplotlib.use("Agg")
        tiny = Tiny("sd", steps=3)
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            tiny(callback)
        figure, axes = callback.plot()
        assert figure is not None
        lines = [line.get_ydata() for line in axes.get_lines()]
        np.testing.assert_array_equal(np.stack(lines, axis=1), callback.scores.numpy())
        assert callback.plot(axes)[1] is axes


class TestEarlyExit:
    @pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux", "sd-img2img", "sd-inpaint-9"])
    def test_the_images_are_the_previews_of_the_step_of_the_exit(
        self, name: str, tiny_model: EncoderModel
    ) -> None:
        tiny = Tiny(name, steps=6)
        tiny()
        before, passes = tiny.state(), steps_taken(tiny.pipe)
        with UniSimScoreCallback(
            tiny.pipe,
            "a cat",
            model_name_or_path=tiny_model,
            keep_previews=True,
            early_exit=EarlyExit(settled=2.0, patience=1),
        ) as callback:
            images = tiny(callback)
        assert callback.stopped_at == 1
        assert len(passes) == 2
        assert callback.verdicts == ["settled", "settled"]
        for picture, image in zip(callback.previews[-1], pil(images), strict=True):
            assert np.abs(np.asarray(picture).astype(int) - np.asarray(image).astype(int)).max() <= 1
        tiny.denoiser._forward_hooks.clear()
        assert tiny.state() == before
        assert len(tiny(callback=None)) == 2

    def test_every_image_must_have_settled(self) -> None:
        rule = EarlyExit(settled=0.1, patience=2)
        scores = torch.tensor([[0.0, 0.0], [0.05, 0.5], [0.1, 0.5], [0.1, 0.5]])
        assert rule.judge(scores[:2], 0.2) == [None, None]
        assert rule.judge(scores[:3], 0.3) == ["settled", None]
        assert rule.judge(scores, 0.4) == ["settled", "settled"]

    def test_hopeless_images(self) -> None:
        rule = EarlyExit(hopeless=0.2, after=0.5)
        scores = torch.tensor([[0.1, 0.3]])
        assert rule.judge(scores, 0.4) == [None, None]
        assert rule.judge(scores, 0.5) == ["hopeless", None]
        both = EarlyExit(settled=0.0, patience=1, hopeless=0.2, after=0.0)
        assert both.judge(scores.repeat(2, 1), 0.1) == ["hopeless", "settled"]

    def test_sampling_goes_on_while_one_image_is_neither(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd3", steps=4)
        images = tiny()
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            tiny(callback)
        between = float(callback.scores[1:].mean(0).sum() / 2)
        assert (callback.scores[1:] < between).any(0).tolist().count(
            True
        ) == 1  # of the two images one is worse
        with UniSimScoreCallback(
            tiny.pipe,
            "a cat",
            model_name_or_path=tiny_model,
            early_exit=EarlyExit(hopeless=between, after=0.0),
        ) as callback:
            assert torch.equal(tiny(callback), images)
        assert callback.stopped_at is None
        assert callback.verdicts.count("hopeless") == 1

    @pytest.mark.parametrize("name", ["sd-inpaint", "flux-inpaint"])
    def test_pasting_pipelines_are_refused(self, name: str, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match=r"`early_exit` must be None for \w+InpaintPipeline .* pastes"):
            UniSimScoreCallback(
                Tiny(name).pipe, "a cat", model_name_or_path=tiny_model, early_exit=EarlyExit(settled=0.1)
            )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "must not both be None"),
            ({"settled": -1.0}, "`settled` must be at least 0"),
            ({"settled": 0.1, "patience": 0}, "`patience` must be at least 1"),
            ({"hopeless": 0.1, "after": 2.0}, "`after` must be between 0 and 1"),
        ],
    )
    def test_wrong_rules(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            EarlyExit(**arguments)


class Recording(PipelineCallback):
    """Another callback, as users write them."""

    tensor_inputs = ["latents"]  # noqa: RUF012

    def callback_fn(self, pipeline: Any, step_index: int, timesteps: Any, callback_kwargs: Any) -> Any:
        self.seen = [*getattr(self, "seen", []), step_index]
        return callback_kwargs


class TestWaysOfCalling:
    @pytest.mark.parametrize("name", ["sd", "flux"])  # Flux does not know PipelineCallback
    def test_among_several_callbacks(self, name: str, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name)
        images = tiny()
        other = Recording()
        first = UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model)
        second = UniSimScoreCallback(tiny.pipe, None, model_name_or_path=tiny_model)
        before = tiny.state()
        with first, second:
            assert torch.equal(tiny(MultiPipelineCallbacks([first, other, second])), images)
        assert tiny.state() == before
        assert first.steps == second.steps == other.seen == [0, 1, 2, 3]

    def test_under_inference_mode(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd")
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            tiny(callback)
        scores = callback.scores
        with (
            torch.inference_mode(),
            UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback,
        ):
            tiny(callback)
        assert torch.equal(callback.scores, scores)

    def test_offloaded_models(self, tiny_model: EncoderModel) -> None:
        """With the hooks that `enable_model_cpu_offload` and `enable_sequential_cpu_offload` put in."""
        tiny = Tiny("sd", steps=2)
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            images = tiny(callback)
        scores = callback.scores
        device = torch.device("cpu")
        _, hook = cpu_offload_with_hook(tiny.pipe.unet, device)
        cpu_offload_with_hook(tiny.pipe.vae, device, prev_module_hook=hook)
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            assert torch.equal(tiny(callback), images)
        assert torch.equal(callback.scores, scores)
        tiny = Tiny("sd", steps=2)
        for module in (tiny.pipe.unet, tiny.pipe.vae):
            cpu_offload(module, device, offload_buffers=True)
        assert tiny.pipe.vae.device.type == "meta"
        with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            assert torch.equal(tiny(callback), images)
        assert torch.equal(callback.scores, scores)

    def test_an_exception_of_another_callback(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd")
        tiny()
        before = tiny.state()

        class Failing(Recording):
            def callback_fn(self, *arguments: Any) -> Any:
                raise RuntimeError("out of memory")

        callback = UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model)
        with pytest.raises(RuntimeError, match="out of memory"), callback:
            tiny(MultiPipelineCallbacks([callback, Failing()]))
        assert tiny.state() == before
        with callback:
            tiny(callback)
        assert len(callback.steps) == 4


class TestWrongUse:
    def refused(self, tiny: Tiny, callback: Any, message: str, **arguments: Any) -> None:
        """The pipeline must raise before the scheduler takes a step, and stay as it was."""
        before, steps = tiny.state(), []
        step = type(tiny.pipe.scheduler).step

        class Counted(type(tiny.pipe.scheduler)):  # type: ignore[misc]
            def step(self, *args: Any, **kwargs: Any) -> Any:
                steps.append(1)
                return step(self, *args, **kwargs)

        tiny.pipe.scheduler.__class__ = Counted
        with pytest.raises(ValueError, match=message):
            tiny(callback, **arguments)
        assert not steps
        tiny.pipe.scheduler.__class__ = Counted.__bases__[0]
        assert tiny.state().keys() == before.keys()

    def test_without_entering(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd")
        callback = UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model)
        self.refused(tiny, callback, "must listen before the pipeline starts: `with callback")
        flux = Tiny("flux")  # asks for nothing before the first step
        callback = UniSimScoreCallback(flux.pipe, "a cat", model_name_or_path=tiny_model)
        with pytest.raises(ValueError, match="must listen before the pipeline starts"):
            flux(callback)

    @pytest.mark.parametrize("name", ["flux", "sd"])
    def test_without_the_latents(self, name: str, tiny_model: EncoderModel) -> None:
        tiny = Tiny(name)
        callback = UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model)
        with callback:
            self.refused(
                tiny,
                # Hidden from Stable Diffusion, which would ask a PipelineCallback itself.
                lambda *arguments: callback(*arguments),
                r"must contain 'latents' .* got \['prompt_embeds'\]: leave it out",
                callback_on_step_end_tensor_inputs=["prompt_embeds"],
            )

    def test_a_target_that_does_not_fit_the_batch(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("flux", images=2)
        with UniSimScoreCallback(tiny.pipe, ["a", "b", "c"], model_name_or_path=tiny_model) as callback:
            self.refused(tiny, callback, "has 3 for a batch of 2 images")

    def test_another_pipeline(self, tiny_model: EncoderModel) -> None:
        one, other = Tiny("sd"), Tiny("sd")
        with UniSimScoreCallback(one.pipe, "a cat", model_name_or_path=tiny_model) as callback:
            with pytest.raises(ValueError, match="was made for another pipeline"):
                other(callback)
            one.pipe.scheduler = scheduler("EulerDiscreteScheduler")
            with pytest.raises(ValueError, match="another pipeline or scheduler"):
                one(callback)

    def test_a_generative_model(self) -> None:
        with pytest.raises(
            ValueError, match=r"model 'tiny-llava', which answers it by a choice .* Use `UniSimRanking`"
        ):
            UniSimScoreCallback(Tiny("sd").pipe, "a cat", model_name_or_path=Generative())  # type: ignore[arg-type]

    def test_a_pipeline_without_an_autoencoder(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd")
        tiny.pipe.vae = None
        with pytest.raises(ValueError, match=r"must have an autoencoder .* got a StableDiffusionPipeline"):
            UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model)

    def test_a_scheduler_that_tells_nothing(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd")
        callback = UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model)
        tiny.pipe.scheduler = diffusers.KDPM2DiscreteScheduler()
        with pytest.raises(ValueError, match="whose steps tell the predicted image"), callback:
            raise AssertionError("entered")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"task": "caption"}, "for task 'caption'"),
            ({"task": "odd-one-out", "target": None}, "must not be 'odd-one-out'"),
            ({"method": "other", "target": None}, "`method` must be one of"),
        ],
    )
    def test_wrong_arguments(self, arguments: dict[str, Any], message: str, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match=message):
            UniSimScoreCallback(
                Tiny("sd").pipe, model_name_or_path=tiny_model, **{"target": "a cat", **arguments}
            )

    def test_nested_entering(self, tiny_model: EncoderModel) -> None:
        callback = UniSimScoreCallback(Tiny("sd").pipe, "a cat", model_name_or_path=tiny_model)
        with callback, pytest.raises(ValueError, match="already listening"):
            callback.__enter__()

    def test_a_callback_that_is_never_called_warns(self, tiny_model: EncoderModel) -> None:
        tiny = Tiny("sd")
        with (
            pytest.warns(UserWarning, match="never called its `UniSimScoreCallback`"),
            UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model),
        ):
            tiny()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with UniSimScoreCallback(tiny.pipe, "a cat", model_name_or_path=tiny_model):
                pass
